//! The command line.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use tutti_controller::run::TakeOver;

use crate::{
    connect::Address,
    createrepo::CreaterepoArgs,
    progress::Format,
    records::{RecordsArgs, RecordsCommand},
};

/// Compose RPM distributions: repositories, install trees and their metadata, from many small jobs
#[derive(Debug, Parser)]
#[command(name = "tutti", version, max_term_width = 110, propagate_version = true)]
#[command(
    after_help = "Exit status: 0 for FINISHED and FINISHED_INCOMPLETE (2 with --strict), 1 otherwise, 64 for a mistake on the command line."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Show what the program does: an env_logger-style filter, such as `debug` or `tutti_controller=trace`
    #[arg(long, global = true, env = "TUTTI_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Write the program's log as JSON lines
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
    /// Send traces to this OTLP gRPC endpoint, such as http://127.0.0.1:4317
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a compose on this machine, with an embedded store and an in-process worker
    Compose(ComposeArgs),
    /// Run a controller
    Controller(ControllerArgs),
    /// Run a worker for a controller; SIGTERM lets it finish what it runs, a second one ends that
    Worker(WorkerArgs),
    /// Give a compose to a controller
    Submit(SubmitArgs),
    /// List a controller's composes, or those in a target directory
    List(ListArgs),
    /// Show a compose: jobs by kind, critical path, what failed, and each attempt of what did not succeed at once
    Show(OneArgs),
    /// Follow a compose to its end
    Watch(WatchArgs),
    /// Print a job's log
    Logs(LogsArgs),
    /// Stop a compose: what is done is kept, what runs is ended; retry goes on with it
    Cancel(CancelArgs),
    /// Run failed jobs again, of a DOOMED compose too; finished jobs are kept. A failable job that the rest of the
    /// compose has gone on without cannot be retried: make a new compose
    Retry(RetryArgs),
    /// Say what a job waits for, why no worker can run it, or how it ended and why
    Why(WhyArgs),
    /// Compare a compose's files with its state, and say what does not fit and what to do
    ///
    /// Everything that finished jobs made must be there as they made it: the blobs and manifests below work/tutti, and
    /// each file of the tree with its size, mode, link target and, of packages, mtime; with --checksums with its
    /// contents too. Also compared: STATUS, COMPOSE_ID, the latest- link, directories of attempts that were left behind,
    /// and the event history. Nothing is changed. A running compose can be checked too: what is published then.
    #[command(
        after_help = "Exit status: 0 when nothing is wrong, 1 when something is, or when the compose cannot be checked."
    )]
    Fsck(FsckArgs),
    /// List workers, or let one finish what it runs and give it nothing new
    Drain(DrainArgs),
    /// Make the metadata (repodata/) of a repository of RPM packages
    ///
    /// Lists all .rpm files below a directory, or those of a list. Each is read once; what a package says becomes XML that
    /// is byte for byte that of createrepo_c 1.2.5. The old repodata/ is replaced in one step, when the new one is whole.
    /// Metadata have the time of the newest package and not that of the clock: the same packages give the same bytes.
    #[command(after_help = "\
Exit status: 0 when all packages are listed, 2 when some were left out (--skip-broken), 1 when no repository was written.

Examples:
  tutti createrepo /srv/repo                      all packages below /srv/repo
  tutti createrepo --update /srv/repo             again, after some packages were changed
  tutti createrepo -i list -o /srv/repo /mnt/koji   packages that lie elsewhere

A link to this program named createrepo_c, modifyrepo_c or mergerepo_c takes the arguments of those tools.")]
    Createrepo(Box<CreaterepoArgs>),
    /// Look after the package records that composes share: count, verify, collect garbage
    #[command(subcommand)]
    Records(RecordsCommand),
    /// Check or print a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// One attempt at one job: started by workers, not by people
    #[command(hide = true)]
    RunJob,
}

/// What a compose is made from.
#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    /// Configuration: Pungi's .conf dialect, or JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Define a variable before the configuration is read, as pungi-config-dump does; VALUE is text
    #[arg(long = "set", short = 'e', value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) kind: KindArgs,
    /// Milestone label, such as RC-1.0; makes the compose's type production unless another is given
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// Mark the compose as supported (final), as RC and Update labels do
    #[arg(long)]
    pub(crate) supported: bool,
    /// Production compose without a label
    #[arg(long, conflicts_with = "label")]
    pub(crate) no_label: bool,
    /// Exact compose id, instead of the next free respin
    #[arg(long, value_name = "ID")]
    pub(crate) compose_id: Option<String>,
    /// Date of the compose, YYYYMMDD; today's, or that of SOURCE_DATE_EPOCH, if not given
    #[arg(long, value_name = "YYYYMMDD")]
    pub(crate) date: Option<String>,
    /// Run these jobs and what they need: KIND[.VARIANT[.ARCH]] with * and ?
    #[arg(long, value_name = "PATTERN")]
    pub(crate) only: Vec<String>,
    /// Leave these jobs out: a kind or a pattern
    #[arg(long, value_name = "PATTERN")]
    pub(crate) skip: Vec<String>,
    /// Run only this phase of Pungi's (and what it needs)
    #[arg(long, value_name = "PHASE")]
    pub(crate) just_phase: Vec<String>,
    /// Leave this phase of Pungi's out
    #[arg(long, value_name = "PHASE")]
    pub(crate) skip_phase: Vec<String>,
    /// A required failure cancels everything else
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Do not move the latest- link
    #[arg(long)]
    pub(crate) no_latest_link: bool,
    /// Move the latest- link only for these final statuses [default: FINISHED and FINISHED_INCOMPLETE]
    #[arg(long, value_name = "STATUS")]
    pub(crate) latest_link_status: Vec<String>,
    /// Parts of the version in the latest- link; -1 for all
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) latest_link_components: i32,
}

/// Type of compose; the configuration's compose_type, or production, if none is given.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct KindArgs {
    /// Production compose
    #[arg(long)]
    pub(crate) production: bool,
    /// Nightly compose (.n)
    #[arg(long)]
    pub(crate) nightly: bool,
    /// Test compose (.t)
    #[arg(long)]
    pub(crate) test: bool,
    /// CI compose (.ci)
    #[arg(long)]
    pub(crate) ci: bool,
    /// Development compose (.d)
    #[arg(long)]
    pub(crate) development: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ComposeArgs {
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    /// Directory in which the compose's directory is made
    #[arg(long, value_name = "DIR")]
    pub(crate) target_dir: PathBuf,
    /// Go on with a compose that was interrupted; finished jobs do not run again
    #[arg(long, value_name = "ID", conflicts_with_all = ["config", "compose_id"])]
    pub(crate) resume: Option<String>,
    #[command(flatten)]
    pub(crate) take_over: TakeOverArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Cores that jobs use at once (most jobs use a part of one); all of this machine if not given
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) jobs: Option<u32>,
    #[command(flatten)]
    pub(crate) records: RecordsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Show failures and the end only
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Exit with 2 for FINISHED_INCOMPLETE
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ControllerArgs {
    /// Directory of the controller's state
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
    /// Where to listen: unix:/path (made in a directory of mode 0700), or 127.0.0.1:PORT with --insecure-loopback
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<String>,
    /// Let everybody on this machine do everything over TCP on loopback: for tests
    #[arg(long)]
    pub(crate) insecure_loopback: bool,
    #[command(flatten)]
    pub(crate) take_over: TakeOverArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The controller: unix:/path or http://127.0.0.1:PORT
    #[arg(long, value_name = "ADDRESS", env = "TUTTI_CONTROLLER")]
    pub(crate) controller: Address,
    /// Name of the worker; host name and process id if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) id: Option<String>,
    /// Cores to offer; all if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cpus: Option<u32>,
    /// Where this host has what the controller calls otherwise: THEIRS=OURS, for the compose directory and packages
    #[arg(long = "map", value_name = "THEIRS=OURS")]
    pub(crate) maps: Vec<String>,
    /// Directory for outcomes that the controller has not yet acknowledged
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// After SIGTERM, give what runs at most this long to end; then end it, as a second SIGTERM does [default: no limit]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) drain_limit: Option<u32>,
    /// Start each job by this program, such as `nice -n 5` or an emulator; it must become the job, not start it
    #[arg(long, value_name = "COMMAND")]
    pub(crate) job_prefix: Option<String>,
    #[command(flatten)]
    pub(crate) records: RecordsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// The controller: unix:/path or http://127.0.0.1:PORT
    #[arg(long, value_name = "ADDRESS", env = "TUTTI_CONTROLLER")]
    pub(crate) controller: Address,
    /// Print JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    /// Directory, on the controller's host, in which the compose's directory is made
    #[arg(long, value_name = "DIR")]
    pub(crate) target_dir: PathBuf,
    /// Follow the compose to its end
    #[arg(long)]
    pub(crate) wait: bool,
    /// Exit with 2 for FINISHED_INCOMPLETE (with --wait)
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) take_over: TakeOverArgs,
    /// Compose id
    pub(crate) compose_id: String,
    /// Print JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// Say nothing where all is well
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What to do about a process on another host.
#[derive(Debug, Args)]
pub(crate) struct TakeOverArgs {
    /// Go on although the state belongs to a process on another host: only when that one is known to be dead
    #[arg(long)]
    take_over: bool,
}

impl TakeOverArgs {
    pub(crate) fn get(&self) -> TakeOver {
        if self.take_over { TakeOver::FromElsewhere } else { TakeOver::No }
    }
}

/// Where the compose is: at a controller, or in a target directory of `tutti compose`.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct PlaceArgs {
    /// The controller: unix:/path or http://127.0.0.1:PORT; the variable TUTTI_CONTROLLER if no place is given
    #[arg(long, value_name = "ADDRESS")]
    controller: Option<Address>,
    /// Target directory of a compose that `tutti compose` made
    #[arg(long, value_name = "DIR")]
    pub(crate) target_dir: Option<PathBuf>,
}

impl PlaceArgs {
    /// The controller's address, unless a directory was given.
    pub(crate) fn controller(&self) -> anyhow::Result<Option<Address>> {
        address(self.controller.as_ref(), self.target_dir.is_some())
    }
}

impl FsckPlaceArgs {
    /// As [`PlaceArgs::controller`].
    pub(crate) fn controller(&self) -> anyhow::Result<Option<Address>> {
        address(self.controller.as_ref(), self.target_dir.is_some() || self.state_dir.is_some())
    }
}

/// What was typed counts more than the environment: clap would call both a conflict.
fn address(given: Option<&Address>, elsewhere: bool) -> anyhow::Result<Option<Address>> {
    if given.is_some() || elsewhere {
        return Ok(given.cloned());
    }
    let variable = std::env::var(CONTROLLER).ok().filter(|text| !text.is_empty());
    variable.map(|text| text.parse().with_context(|| format!("{CONTROLLER} cannot be used"))).transpose()
}

/// Where clients look for the controller's address.
const CONTROLLER: &str = "TUTTI_CONTROLLER";

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Print JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) take_over: TakeOverArgs,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Compose id
    pub(crate) compose_id: String,
    /// Exit with 2 for FINISHED_INCOMPLETE
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) take_over: TakeOverArgs,
    /// Compose id
    pub(crate) compose_id: String,
    /// Job name: KIND.VARIANT.ARCH
    pub(crate) job: String,
    /// Go on printing while the job runs
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) take_over: TakeOverArgs,
    /// Compose id
    pub(crate) compose_id: String,
    /// Job names or patterns; all that failed if none is given
    pub(crate) jobs: Vec<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) records: RecordsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) take_over: TakeOverArgs,
    /// Compose id
    pub(crate) compose_id: String,
    /// Job name, KIND.VARIANT.ARCH, or a pattern that only one job fits
    pub(crate) job: String,
    /// Print JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct FsckArgs {
    #[command(flatten)]
    pub(crate) place: FsckPlaceArgs,
    /// Compose id
    pub(crate) compose_id: String,
    /// Read all files and compare their contents with what the jobs made
    #[arg(long = "checksums", visible_alias = "full")]
    pub(crate) contents: bool,
    /// Print JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// Where the compose's state is.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct FsckPlaceArgs {
    /// The controller: unix:/path or http://127.0.0.1:PORT; the variable TUTTI_CONTROLLER if no place is given
    #[arg(long, value_name = "ADDRESS")]
    controller: Option<Address>,
    /// Target directory of a compose that `tutti compose` made
    #[arg(long, value_name = "DIR")]
    pub(crate) target_dir: Option<PathBuf>,
    /// State directory of a controller that does not run
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Worker to drain; lists all if not given
    pub(crate) worker_id: Option<String>,
    /// Give the worker jobs again
    #[arg(long, requires = "worker_id")]
    pub(crate) undo: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a configuration, its variants and comps; says all that is wrong
    Check(ConfigArgs),
    /// Print the effective configuration, defaults filled in, as JSON
    Dump(ConfigArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration: Pungi's .conf dialect, or JSON
    pub(crate) config: PathBuf,
    /// Define a variable before the configuration is read, as pungi-config-dump does; VALUE is text
    #[arg(long = "set", short = 'e', value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
