//! `tutti records`: looks after the package records that composes share.

use std::{
    io::IsTerminal as _,
    path::PathBuf,
    str::FromStr,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use tutti_repodata::pack::{PackDirectory, gc};
use tutti_worker::Records;

use crate::progress::{self, Format};

/// Where package records are, as people write it: a directory, or `none`.
#[derive(Clone, Debug)]
pub(crate) struct Place(pub(crate) Records);

impl FromStr for Place {
    type Err = std::io::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "none" => Records::Nowhere,
            directory => Records::In(std::path::absolute(directory)?),
        }))
    }
}

/// Where a worker has package records.
#[derive(Debug, Args)]
pub(crate) struct RecordsArgs {
    /// Directory of package records: what one compose has read, others that use it do not read again; `none`: read all
    /// packages [default: .tutti-records in the target directory]
    #[arg(long, value_name = "DIR|none", env = "TUTTI_RECORDS")]
    records: Option<Place>,
}

impl RecordsArgs {
    pub(crate) fn get(&self) -> Records {
        self.records.clone().map_or_else(Records::default, |place| place.0)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecordsCommand {
    /// Count packs, records and bytes
    Stat(DirectoryArgs),
    /// Read every record of every pack, and name packs that are damaged or cannot be read; status 1 if there is one
    Verify(DirectoryArgs),
    /// Remove records that no compose uses any more, and merge what is left of packs
    ///
    /// A compose uses the records of its packages as long as its directory exists. Composes may run meanwhile: packs are
    /// taken from the list first and removed when the grace time is over, which must be longer than the longest job. What
    /// cannot be read for lack of rights, or because a disk or server fails, is left alone, and the status is 1.
    Gc(GcArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DirectoryArgs {
    /// The directory, such as TARGET_DIR/.tutti-records
    directory: PathBuf,
    /// Print JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    directory: DirectoryArgs,
    /// How long new packs are left alone, and unlisted ones kept
    #[arg(long, value_name = "HOURS", default_value_t = 48)]
    grace: u32,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(command: RecordsCommand) -> Result<u8> {
    match command {
        RecordsCommand::Stat(args) => stat(&args),
        RecordsCommand::Verify(args) => verify(&args),
        RecordsCommand::Gc(args) => collect(&args),
    }
}

fn open(args: &DirectoryArgs) -> Result<PackDirectory> {
    if !args.directory.join("packs").is_dir() {
        bail!(
            "{} is no directory of package records\nhint: tutti compose makes .tutti-records in its target directory",
            args.directory.display()
        );
    }
    Ok(PackDirectory::new(&args.directory))
}

fn stat(args: &DirectoryArgs) -> Result<u8> {
    let packs = open(args)?;
    let found = packs.stat().with_context(|| format!("cannot look at {}", args.directory.display()))?;
    found.problems.iter().for_each(|problem| errln!("warning: {problem}"));
    match args.format {
        Format::Json => progress::print_json(&json!({
            "packs": found.packs, "bytes": found.bytes, "records": found.records, "files": found.files,
            "unlisted": found.unlisted, "uses": found.uses, "problems": found.problems,
        }))?,
        Format::Text => outln!(
            "{} packs, {:.1} MB, {} records of {} package files; {} unlisted packs; {} package sets use them",
            found.packs,
            found.bytes as f64 / 1e6,
            found.records,
            found.files,
            found.unlisted,
            found.uses
        )?,
    }
    Ok(0)
}

fn verify(args: &DirectoryArgs) -> Result<u8> {
    let packs = open(args)?;
    let total = packs.list().map(|names| names.len()).unwrap_or(0);
    let (mut done, terminal) = (0, std::io::stderr().is_terminal());
    let reports = packs.verify(|report| {
        done += 1;
        if terminal {
            err!("\r\x1b[K{done} of {total} packs");
        }
        let _ = report;
    });
    if terminal {
        err!("\r\x1b[K");
    }
    let reports = reports.with_context(|| format!("cannot read {}", args.directory.display()))?;
    let bad = reports.iter().filter(|report| report.problem.is_some()).count();
    match args.format {
        Format::Json => {
            let pack = |report: &tutti_repodata::pack::PackReport| {
                json!({
                    "name": report.name.to_string(), "bytes": report.bytes, "records": report.records,
                    "problem": report.problem, "damaged": report.damaged,
                })
            };
            progress::print_json(&json!(reports.iter().map(pack).collect::<Vec<_>>()))?;
        }
        Format::Text => {
            for report in &reports {
                match &report.problem {
                    Some(problem) => outln!("{}: {problem}", if report.damaged { "damaged" } else { "unreadable" })?,
                    None => outln!("good: {} ({} records, {} bytes)", report.name, report.records, report.bytes)?,
                }
            }
            let damaged = reports.iter().filter(|report| report.damaged).count();
            if damaged > 0 {
                outln!(
                    "{damaged} of {} packs are damaged: the next compose that needs their records reads those packages again and replaces them, tutti records gc removes what cannot be opened",
                    reports.len()
                )?;
            }
            if bad > damaged {
                outln!("{} of {} packs cannot be read now, and may be whole", bad - damaged, reports.len())?;
            }
        }
    }
    Ok(u8::from(bad > 0))
}

fn collect(args: &GcArgs) -> Result<u8> {
    let packs = open(&args.directory)?;
    let grace = Duration::from_secs(u64::from(args.grace) * 3600);
    let report = packs.gc(&gc::Options { now: SystemTime::now(), grace, dry_run: args.dry_run })?;
    report.problems.iter().for_each(|problem| errln!("warning: {problem}"));
    let names = |packs: &[tutti_repodata::pack::PackName]| packs.iter().map(ToString::to_string).collect::<Vec<_>>();
    match args.directory.format {
        Format::Json => progress::print_json(&json!({
            "dry_run": args.dry_run, "kept": report.kept, "dropped": names(&report.dropped),
            "merged": names(&report.merged), "into": names(&report.into), "composes_forgotten": report.forgotten,
            "files_removed": report.removed, "bytes_removed": report.removed_bytes, "left": report.left,
            "problems": report.problems,
        }))?,
        Format::Text => outln!(
            "{}{} packs kept, {} unlisted, {} merged into {}; {} notes of removed composes; {} files ({:.1} MB) removed",
            if args.dry_run { "would be: " } else { "" },
            report.kept,
            report.dropped.len(),
            report.merged.len(),
            report.into.len(),
            report.forgotten,
            report.removed,
            report.removed_bytes as f64 / 1e6
        )?,
    }
    Ok(u8::from(report.left > 0))
}
