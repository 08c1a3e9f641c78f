//! What the tools print: plain messages on standard output, warnings and errors on standard error.

use std::io::Write as _;

use tutti_createrepo::{Double, Event, Observer, chain};

/// Prints a line on standard output; a reader that went away is no error.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a line on standard error.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A warning from before the tools set up their messages, in GLib's form.
pub(super) fn early_warning(tool: &str, text: &str) {
    complain(&format!("\n** ({tool}:{}): WARNING **: {text}", std::process::id()));
}

/// Prints what createrepo_c prints.
pub(super) struct Report {
    pub(super) quiet: bool,
    pub(super) verbose: bool,
    /// Whether packages are those of a list.
    pub(super) listed: bool,
    /// How the directory for what is made is shown.
    pub(super) staging: String,
}

impl Report {
    fn message(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    fn warn(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }
}

impl Observer for Report {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::WalkStarted => self.message("Directory walk started"),
            Event::Found { packages } => {
                if self.listed && packages == 0 {
                    self.warn("Warning: Used pkglist doesn't contain any useful items");
                }
                self.message(&format!("Directory walk done - {packages} packages"));
            }
            Event::OldMetadata(path) => self.message(&format!("Loading metadata from md-path: {}", path.display())),
            Event::OldMetadataUnusable { path, error } => {
                self.warn(&format!("Warning: {} is not used: {}", path.display(), chain(error)));
            }
            Event::OldPackages(count) => self.message(&format!("Loaded information about {count} packages")),
            Event::Kept { file, .. } => self.message(&format!("Using {file} from target repo")),
            Event::Staging(_) => self.message(&format!("Temporary output repo path: {}", self.staging)),
            Event::Reading { workers, .. } => self.message(&format!("Pool started (with {workers} workers)")),
            Event::Package { href, reused } if self.verbose => {
                complain(&format!("{} {href}", if reused { "CACHE HIT" } else { "Adding" }));
            }
            // Not hidden by --quiet: who gets status 2 is told why.
            Event::Broken(package) => {
                complain(&format!("C_CREATEREPOLIB: Warning: Cannot read package: {}", package.text()));
            }
            Event::ReadingDone { broken: 0 } => self.message("Pool finished"),
            Event::ReadingDone { .. } => self.message("Pool finished with errors"),
            Event::Duplicate { nevra, packages } => {
                self.warn(&format!("Warning: Package '{nevra}' has duplicate metadata entries, only one should exist"));
                for Double { href, build_time, listed } in packages {
                    let dropped = if *listed { "" } else { " (not dumped, 'keep-last')" };
                    self.warn(&format!(
                        "Warning:     Sourced from location: '{href}', build timestamp: {build_time}{dropped}"
                    ));
                }
            }
            Event::Unchanged => self.message("New and old repodata match, not updating."),
            Event::Package { .. } | Event::Writing(_) => {}
        }
    }
}
