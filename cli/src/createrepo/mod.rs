//! `tutti createrepo`: a repository of a directory of packages.

mod args;
mod progress;
pub(crate) mod stop;

use anyhow::Result;
pub(crate) use args::CreaterepoArgs;
use indicatif::DecimalBytes;
use tutti_createrepo::{Control, Summary, create};
use tutti_repodata::FileWork;

/// Exit status where packages were left out.
const INCOMPLETE: u8 = 2;

/// Runs the command.
pub(crate) fn run(args: CreaterepoArgs) -> Result<u8> {
    let quiet = args.quiet;
    let options = args.options()?;
    let place = options.output.as_ref().unwrap_or(&options.directory).join("repodata");
    let progress = progress::Progress::new(quiet);
    let stopped = || progress.finish();
    let summary = stop::run(|stop| create(&options, Control { observer: &progress, stop }), stopped);
    progress.finish();
    let summary = summary?;
    if !quiet {
        errln!("{}: {}", place.display(), text(&summary));
    }
    Ok(if summary.broken.is_empty() { 0 } else { INCOMPLETE })
}

fn text(summary: &Summary) -> String {
    let Summary { packages, broken, work, unchanged, bytes_out, files, .. } = summary;
    let mut text = format!("{packages} package{}", if *packages == 1 { "" } else { "s" });
    if work.reused > 0 {
        text += &format!(", {} of them taken over", work.reused);
    }
    if !broken.is_empty() {
        text += &format!(", {} left out", broken.len());
    }
    text += &format!("; {} of packages read", DecimalBytes(work.rpm_bytes));
    text += &match unchanged {
        true => "; nothing changed, and nothing was written".to_owned(),
        false => {
            let sum = |part: fn(&FileWork) -> u64| DecimalBytes(files.iter().map(part).sum());
            format!(
                ", {} of metadata written: {} of text compressed, {} copied, {} hashed",
                DecimalBytes(*bytes_out),
                sum(|file| file.bytes_compressed),
                sum(|file| file.bytes_copied),
                sum(|file| file.bytes_hashed),
            )
        }
    };
    text
}
