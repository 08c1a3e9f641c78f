//! What a person sees of a run: a bar on a terminal, and in any case what is wrong.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tutti_createrepo::{Event, Observer, chain};

/// A bar on standard error.
pub(super) struct Progress {
    bar: ProgressBar,
    quiet: bool,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let seen = !quiet && std::io::stderr().is_terminal();
        let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} packages  {elapsed}  {msg}") {
            bar.set_style(style);
        }
        if seen {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Self { bar, quiet }
    }

    /// Leaves the terminal clean.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn warn(&self, text: &str) {
        self.bar.suspend(|| errln!("warning: {text}"));
    }
}

impl Observer for Progress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::WalkStarted => self.bar.set_message("looking for packages"),
            Event::Found { packages } => self.bar.set_length(packages as u64),
            Event::OldMetadata(path) => self.bar.set_message(format!("reading {}", path.join("repodata").display())),
            Event::Reading { .. } => self.bar.set_message("reading packages"),
            Event::Package { .. } => self.bar.inc(1),
            Event::Writing(_) => self.bar.set_message("writing metadata"),
            Event::Broken(package) => self.warn(&package.text()),
            Event::OldMetadataUnusable { path, error } => {
                self.warn(&format!("{} is not used: {}", path.join("repodata").display(), chain(error)));
            }
            Event::Duplicate { nevra, packages } if !self.quiet => {
                let hrefs: Vec<&str> = packages.iter().map(|package| package.href).collect();
                self.warn(&format!("{nevra} is there {} times: {}", hrefs.len(), hrefs.join(", ")));
            }
            Event::Duplicate { .. }
            | Event::OldPackages(_)
            | Event::Kept { .. }
            | Event::Staging(_)
            | Event::ReadingDone { .. }
            | Event::Unchanged => {}
        }
    }
}
