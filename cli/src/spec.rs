//! From command line and configuration to a submitted spec.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tutti_controller::{
    accept::{self, AcceptOptions, IdentityOptions, LatestLink, Prepared},
    plan::PlanReport,
};
use tutti_distro::compose_id::ComposeType;
use tutti_proto::compose::{Blob, SubmitRequest};

use crate::args::{KindArgs, SpecArgs};

/// Reads everything that the arguments name, and says what the user should know.
pub(crate) fn prepare(args: &SpecArgs) -> Result<Prepared> {
    let definitions = definitions(&args.set)?;
    let options = AcceptOptions {
        definitions,
        identity: identity(args)?,
        only: args.only.clone(),
        skip: args.skip.clone(),
        just_phases: args.just_phase.clone(),
        skip_phases: args.skip_phase.clone(),
        fail_fast: args.fail_fast,
    };
    let config =
        args.config.as_deref().context("--config FILE is needed; `tutti compose --help` says what else there is")?;
    let prepared = accept::load(config, &options)?;
    for warning in &prepared.warnings {
        errln!("warning: {warning}");
    }
    Ok(prepared)
}

/// What the planner has to say, a line each.
pub(crate) fn planned(report: &PlanReport) -> String {
    let notes = report.notes.iter().map(|note| format!("note: {note}\n"));
    let left_out = report.left_out.iter().map(|item| format!("left out: {}: {}\n", item.job, item.reason));
    notes.chain(left_out).collect()
}

/// `NAME=VALUE` pairs.
pub(crate) fn definitions(set: &[String]) -> Result<Vec<(String, String)>> {
    let parse = |text: &String| tutti_distro::config::parse_definition(text);
    Ok(set.iter().map(parse).collect::<Result<_, _>>()?)
}

fn identity(args: &SpecArgs) -> Result<IdentityOptions> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let source_date_epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            Some(text.parse().with_context(|| format!("SOURCE_DATE_EPOCH={text:?} is not a number of seconds"))?)
        }
        Err(_) => None,
    };
    Ok(IdentityOptions {
        compose_type: kind(&args.kind),
        label: args.label.clone(),
        no_label: args.no_label,
        supported: args.supported,
        compose_id: args.compose_id.clone(),
        date: args.date.clone(),
        source_date_epoch,
        now: i64::try_from(now).unwrap_or(i64::MAX),
        latest: LatestLink {
            off: args.no_latest_link,
            statuses: args.latest_link_status.clone(),
            components: usize::try_from(args.latest_link_components).ok(),
        },
    })
}

fn kind(args: &KindArgs) -> Option<ComposeType> {
    [
        (args.production, ComposeType::Production),
        (args.nightly, ComposeType::Nightly),
        (args.test, ComposeType::Test),
        (args.ci, ComposeType::Ci),
        (args.development, ComposeType::Development),
    ]
    .into_iter()
    .find_map(|(given, kind)| given.then_some(kind))
}

/// The message that hands a prepared spec to a controller.
pub(crate) fn request(prepared: Prepared, target_dir: String, idempotency_key: String) -> Result<SubmitRequest> {
    let spec = serde_json::to_vec(&prepared.spec).context("cannot encode the spec")?;
    let blobs = prepared.blobs.into_iter().map(|(digest, data)| Blob { digest: digest.as_bytes().to_vec(), data });
    Ok(SubmitRequest {
        idempotency_key,
        spec,
        blobs: blobs.collect(),
        target_dir,
        traceparent: tutti_telemetry::current_traceparent().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use tutti_controller::plan::LeftOut;

    use super::*;

    #[test]
    fn what_the_planner_says_is_shown() {
        let left_out = LeftOut { job: "createrepo.Server.x86_64".parse().unwrap(), reason: "--skip repo".into() };
        let report = PlanReport { left_out: vec![left_out], notes: vec!["--only x matches nothing".into()] };
        let text = planned(&report);
        assert_eq!(text, "note: --only x matches nothing\nleft out: createrepo.Server.x86_64: --skip repo\n");
        assert_eq!(planned(&PlanReport::default()), "");
    }
}
