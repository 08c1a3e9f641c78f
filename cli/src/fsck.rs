//! `tutti fsck`: what does not fit together in a compose.

use std::{
    io::{IsTerminal, Write},
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::json;
use tonic::transport::Channel;
use tutti_controller::fsck::{self, Depth, Finding, Report, Severity, StateFileError, Then};
use tutti_proto::compose::{
    FsckFinding, FsckRequest, compose_service_client::ComposeServiceClient, fsck_response::Event,
};

use crate::{
    args::{FsckArgs, FsckPlaceArgs},
    connect::connect,
    embedded,
    progress::{self, Format, status_word},
};

/// Findings that are printed as text; JSON has all.
const PRINTED: usize = 200;
/// Pause between two words on progress.
const OFTEN: Duration = Duration::from_secs(1);

/// What a check found, wherever it ran.
struct Checked {
    compose_id: String,
    directory: String,
    status: String,
    running: bool,
    report: Report,
}

/// Checks a compose; 0 when nothing is wrong, 1 when something is.
pub(crate) async fn run(args: FsckArgs) -> Result<u8> {
    let depth = if args.contents { Depth::Contents } else { Depth::Stat };
    let checked = check(&args.place, &args.compose_id, depth).await?;
    match args.format {
        Format::Json => progress::print_json(&object(&checked, depth))?,
        Format::Text => out!("{}", text(&checked, depth))?,
    }
    Ok(u8::from(!checked.report.is_clean()))
}

async fn check(place: &FsckPlaceArgs, id: &str, depth: Depth) -> Result<Checked> {
    if let Some(address) = place.controller()? {
        return remote(connect(&address).await?, id, depth).await;
    }
    if let Some(directory) = &place.state_dir {
        tutti_distro::compose_id::ComposeId::new(id)?;
        return local(&directory.join("state.redb"), id, None, depth).await;
    }
    let target = place.target_dir.as_deref().context("--controller, --target-dir or --state-dir is needed")?;
    let id = &embedded::meant(target, id);
    let top = embedded::known_dir(target, id)?;
    let running = embedded::running(&top).await.with_context(|| format!("cannot check {}", top.display()))?;
    if let Some(client) = running {
        return remote(client, id, depth).await;
    }
    let state = top.join(embedded::STATE);
    if !state.exists() {
        anyhow::ensure!(!embedded::is_begun(&top), embedded::never_accepted(&top));
        return Ok(without_state(id, &top));
    }
    let checked = local(&state, id, Some(&top), depth).await;
    match &checked {
        Err(error)
            if embedded::is_bare(&top)
                && matches!(error.downcast_ref(), Some(StateFileError::Unknown { known, .. }) if known.is_empty()) =>
        {
            Err(embedded::never_accepted(&top))
        }
        _ => checked,
    }
}

/// Refuses to go on with a compose of which parts are gone that finished jobs made: they do not run again, and it would
/// end as if it were whole.
pub(crate) async fn refuse_damaged(top: &Path, id: &str) -> Result<()> {
    // What cannot be read at all is for the controller to say, which opens it next.
    let Ok(loaded) = fsck::load(&top.join(embedded::STATE), id, Some(top)).await else { return Ok(()) };
    let mut findings = loaded.findings;
    let then = Then::GoesOn("run this again".to_owned());
    if let Some(subject) = loaded.subject {
        let mut found = run_here((*subject).clone(), Depth::Stat).await?.findings;
        if fsck::refusal(id, top, &found, &then).is_some() {
            // Perhaps packages were only touched.
            found = run_here(*subject, Depth::Changed).await?.findings;
        }
        findings.extend(found);
    }
    match fsck::refusal(id, top, &findings, &then) {
        Some(refusal) => anyhow::bail!(refusal),
        None => Ok(()),
    }
}

async fn run_here(subject: fsck::Subject, depth: Depth) -> Result<Report> {
    let checking = tokio::task::spawn_blocking(move || {
        let mut ticker = Ticker::new();
        let report = fsck::check(&subject, depth, &mut |progress| {
            ticker.tell(progress.what, progress.done, progress.total);
            ControlFlow::Continue(())
        });
        ticker.clear();
        report.unwrap_or_default()
    });
    checking.await.context("the check broke off")
}

fn without_state(id: &str, top: &Path) -> Checked {
    let finding = Finding {
        severity: Severity::Error,
        path: embedded::STATE.to_owned(),
        job: String::new(),
        what: "is missing, so nothing is known of the compose but its files".to_owned(),
        advice: "if a controller made it, ask that one (--controller, or --state-dir when it is gone); else restore it from a copy, or make a new compose".to_owned(),
        may_pass: false,
    };
    Checked {
        compose_id: id.to_owned(),
        directory: top.display().to_string(),
        status: String::new(),
        running: false,
        report: Report::of(vec![finding]),
    }
}

/// Reads the state of a compose on which nobody works, and checks here.
async fn local(state: &Path, id: &str, top: Option<&Path>, depth: Depth) -> Result<Checked> {
    let state = std::path::absolute(state).context("cannot find the current directory")?;
    let loaded = fsck::load(&state, id, top).await?;
    let directory = loaded.top.display().to_string();
    let Some(subject) = loaded.subject else {
        let (compose_id, report) = (id.to_owned(), Report::of(loaded.findings));
        return Ok(Checked { compose_id, directory, status: String::new(), running: false, report });
    };
    let status = subject.header.status.as_str().to_owned();
    let mut report = run_here(*subject, depth).await?;
    report.findings.extend(loaded.findings);
    let report = Report { findings: Report::of(report.findings).findings, ..report };
    Ok(Checked { compose_id: id.to_owned(), directory, status, running: false, report })
}

/// Lets the controller check, which has the volume.
async fn remote(mut client: ComposeServiceClient<Channel>, id: &str, depth: Depth) -> Result<Checked> {
    let request = FsckRequest { compose_id: id.to_owned(), contents: depth == Depth::Contents };
    let mut stream = client.fsck(request).await?.into_inner();
    let mut ticker = Ticker::new();
    let mut findings = Vec::new();
    while let Some(response) = stream.message().await.context("lost the controller while it checked")? {
        match response.event {
            Some(Event::Progress(progress)) => ticker.tell(&progress.what, progress.done, progress.total),
            Some(Event::Finding(finding)) => findings.push(from_wire(finding)),
            Some(Event::End(end)) => {
                ticker.clear();
                return Ok(Checked {
                    compose_id: id.to_owned(),
                    directory: end.compose_dir,
                    status: status_word(end.status).to_owned(),
                    running: end.running,
                    report: Report { findings, files: end.files, bytes: end.bytes },
                });
            }
            None => {}
        }
    }
    anyhow::bail!("the controller ended before it had checked {id}; run tutti fsck again")
}

fn from_wire(finding: FsckFinding) -> Finding {
    let severity = match finding.severity.as_str() {
        "note" => Severity::Note,
        "warning" => Severity::Warning,
        _ => Severity::Error,
    };
    let FsckFinding { path, job, what, advice, .. } = finding;
    Finding { severity, path, job, what, advice, may_pass: false }
}

fn text(checked: &Checked, depth: Depth) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for finding in checked.report.findings.iter().take(PRINTED) {
        let job = if finding.job.is_empty() { String::new() } else { format!(" [{}]", finding.job) };
        let _ = writeln!(
            out,
            "{}: {}{job}: {}\n  what to do: {}",
            finding.severity, finding.path, finding.what, finding.advice
        );
    }
    let more = checked.report.findings.len().saturating_sub(PRINTED);
    if more > 0 {
        let _ = writeln!(out, "… and {more} more; --format json lists all");
    }
    let wrong = checked.report.findings.iter().filter(|finding| finding.severity > Severity::Note).count();
    let found = match wrong {
        0 => "nothing wrong found".to_owned(),
        1 => "1 finding".to_owned(),
        _ => format!("{wrong} findings"),
    };
    let running = if checked.running { ", still running" } else { "" };
    let status = if checked.status.is_empty() { "state unknown" } else { checked.status.as_str() };
    let contents = match depth {
        Depth::Stat | Depth::Changed => "contents not compared (--checksums does that)".to_owned(),
        Depth::Contents => format!("{:.1} MB of contents compared", checked.report.bytes as f64 / 1e6),
    };
    let _ = writeln!(
        out,
        "{} ({status}{running}): {found}; {} files looked at, {contents}",
        checked.compose_id, checked.report.files
    );
    out
}

fn object(checked: &Checked, depth: Depth) -> serde_json::Value {
    let finding = |finding: &Finding| {
        json!({
            "severity": finding.severity.as_str(),
            "path": finding.path,
            "job": finding.job,
            "what": finding.what,
            "advice": finding.advice,
        })
    };
    json!({
        "compose_id": checked.compose_id,
        "compose_dir": checked.directory,
        "status": checked.status,
        "running": checked.running,
        "contents_compared": depth == Depth::Contents,
        "files": checked.report.files,
        "bytes_read": checked.report.bytes,
        "findings": checked.report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// Says on standard error how far a long check is.
struct Ticker {
    last: Instant,
    terminal: bool,
    shown: bool,
}

impl Ticker {
    fn new() -> Self {
        Self { last: Instant::now(), terminal: std::io::stderr().is_terminal(), shown: false }
    }

    fn tell(&mut self, what: &str, done: u64, total: u64) {
        if self.last.elapsed() < OFTEN {
            return;
        }
        self.last = Instant::now();
        let of = if total > 0 { format!(" of {total}") } else { String::new() };
        let line = format!("{what}: {done}{of}");
        // Nobody is there to read it if this fails.
        let _ = match self.terminal {
            true => write!(std::io::stderr(), "\r\x1b[K{line}"),
            false => writeln!(std::io::stderr(), "{line}"),
        };
        self.shown = true;
    }

    fn clear(&self) {
        if self.terminal && self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_printed_with_what_to_do() {
        let mut checked = without_state("C-1", Path::new("/t/C-1"));
        checked.report.findings[0].job = "createrepo.S.x86_64".into();
        let text = text(&checked, Depth::Stat);
        assert!(text.starts_with("error: work/tutti/state.redb [createrepo.S.x86_64]: is missing"), "{text}");
        assert!(text.contains("\n  what to do: if a controller made it"), "{text}");
        assert!(
            text.ends_with(
                "C-1 (state unknown): 1 finding; 0 files looked at, contents not compared (--checksums does that)\n"
            ),
            "{text}"
        );
        assert_eq!(object(&checked, Depth::Stat)["findings"][0]["severity"], "error");
    }
}
