//! Properties of all plans.

use proptest::prelude::*;
use tutti_job::{Digest, JobKind, JobSpec, params};

use super::fixture::generated;
use crate::plan::{Need, Plan, PlanError, check, close, plan};

fn readable(spec: &JobSpec) -> Result<(), tutti_job::SpecError> {
    match spec.kind()? {
        JobKind::Pkgset => spec.params::<params::PkgsetParams>().map(drop),
        JobKind::Solve => spec.params::<params::SolveParams>().map(drop),
        JobKind::Trim => spec.params::<params::TrimParams>().map(drop),
        JobKind::Link => spec.params::<params::LinkParams>().map(drop),
        JobKind::Createrepo | JobKind::CreaterepoDebug => spec.params::<params::CreaterepoParams>().map(drop),
        JobKind::ExtraFiles => spec.params::<params::ExtraFilesParams>().map(drop),
        JobKind::TreeInfo => spec.params::<params::TreeInfoParams>().map(drop),
        JobKind::Repoclosure => spec.params::<params::RepoclosureParams>().map(drop),
        JobKind::Checksum => spec.params::<params::ChecksumParams>().map(drop),
        JobKind::Metadata => spec.params::<params::MetadataParams>().map(drop),
    }
}

proptest! {
    /// Whatever the spec: the checker finds nothing, and every job can be closed and read by its runner.
    #[test]
    fn plans_of_any_spec_are_sound(bits in proptest::collection::vec(any::<u8>(), 16..120)) {
        let spec = generated(&bits);
        let (made, _) = match plan(&spec) {
            Err(PlanError::Nothing(_)) => return Ok(()),
            made => made.unwrap(),
        };
        prop_assert_eq!(check(&made), []);
        for job in &made.jobs {
            let closed = close(job, &|number, name| Some(Digest::of(format!("{number}{name}").as_bytes()))).unwrap();
            let closed = JobSpec::decode_checked(&closed.encode_canonical()).unwrap();
            prop_assert!(readable(&closed).is_ok(), "{}", job.name);
        }
    }

    /// `--only` keeps what is asked for with all that it needs; `--skip` keeps none of what it names; both plans are sound.
    #[test]
    fn selections_are_sound(
        bits in proptest::collection::vec(any::<u8>(), 16..120), kind in 0..JobKind::ALL.len(), skip in any::<bool>(),
    ) {
        let mut spec = generated(&bits);
        let whole = match plan(&spec) {
            Err(PlanError::Nothing(_)) => return Ok(()),
            whole => whole.unwrap().0,
        };
        let pattern = JobKind::ALL[kind].as_str().to_owned();
        if skip { spec.skip = vec![pattern.clone()] } else { spec.only = vec![pattern.clone()] }
        match plan(&spec) {
            Ok((part, _)) => {
                prop_assert_eq!(check(&part), []);
                prop_assert_eq!(part.matching(&pattern).count(), if skip { 0 } else { whole.matching(&pattern).count() });
                if !skip {
                    prop_assert!(part.jobs.iter().all(|job| same_needs(job.name.clone(), &part, &whole)));
                }
            }
            Err(PlanError::NoMatch { .. }) => prop_assert!(!skip && whole.matching(&pattern).next().is_none()),
            Err(PlanError::Nothing(_)) => prop_assert!(skip),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

/// What the job needs in the whole plan, it has in the part.
fn same_needs(name: tutti_job::JobName, part: &Plan, whole: &Plan) -> bool {
    let needs = |plan: &Plan| {
        let job = plan.find(&name).unwrap();
        let required = job.edges.iter().filter(|edge| edge.need == Need::Required);
        required.map(|edge| plan.jobs[edge.job as usize].name.to_string()).collect::<Vec<_>>()
    };
    let (mut part, mut whole) = (needs(part), needs(whole));
    part.sort();
    whole.sort();
    part == whole
}
