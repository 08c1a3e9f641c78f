//! Accepting a compose: checking the spec, planning it, and making its directory.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tonic::Status;
use tutti_distro::compose_id::ComposeId;
use tutti_failpoint::pass;
use tutti_job::{Digest, Volumes};
use tutti_proto::compose::SubmitRequest;

use crate::{
    plan::{Plan, PlanError, check, plan},
    spec::ComposeSpec,
    volume::{self, VolumeError},
};

/// A compose whose directory exists and whose plan is made; not yet stored.
pub(crate) struct Accepted {
    pub(crate) key: String,
    pub(crate) spec: ComposeSpec,
    pub(crate) plan: Plan,
    pub(crate) meta: Meta,
}

/// Where the parts of a compose are; small, in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// The compose's directory on the controller's host.
    pub(crate) top: PathBuf,
    /// Blob: the spec.
    pub(crate) spec: Digest,
    /// Blob: the plan.
    pub(crate) plan: Digest,
    /// Milliseconds since 1970.
    pub(crate) created: i64,
    /// Trace that the compose belongs to.
    pub(crate) traceparent: Option<String>,
}

/// Why a compose is refused.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The spec is no spec of this version.
    #[error("cannot read the compose spec")]
    Spec(#[source] serde_json::Error),
    /// A name in it is unsafe.
    #[error("bad compose id {id:?}")]
    Id {
        /// Id.
        id: String,
        /// Why.
        #[source]
        source: tutti_distro::compose_id::Error,
    },
    /// A compose of that id is there already.
    #[error("{0} exists already; hint: leave --compose-id out to get the next free id, or remove the directory")]
    Exists(PathBuf),
    /// It cannot be planned.
    #[error("cannot plan the compose")]
    Plan(#[from] PlanError),
    /// The plan has holes: a fault of this program.
    #[error("the plan is inconsistent: {0}")]
    Inconsistent(String),
    /// The plan cannot be stored.
    #[error("cannot encode the plan")]
    Encode(#[source] serde_json::Error),
    /// A blob that the spec names was not sent, or has other bytes.
    #[error("blob {0} was not sent with the spec")]
    Blob(String),
    /// The target directory cannot be used.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl From<SubmitError> for Status {
    fn from(error: SubmitError) -> Self {
        let text = chain(&error);
        match error {
            SubmitError::Exists(_) => Self::already_exists(text),
            SubmitError::Volume(_) => Self::failed_precondition(text),
            SubmitError::Inconsistent(_) | SubmitError::Encode(_) => Self::internal(text),
            SubmitError::Spec(_) | SubmitError::Id { .. } | SubmitError::Plan(_) | SubmitError::Blob(_) => {
                Self::invalid_argument(text)
            }
        }
    }
}

/// An error and its causes on one line, and what to do if it is the volume's.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = tutti_files::chain(error);
    if let Some(hint) = tutti_files::hint_of(error).filter(|_| !text.contains("hint: ")) {
        text += &format!("; hint: {hint}");
    }
    text
}

/// Checks, plans, and makes the compose's directory with everything that the jobs need. Blocks.
pub(crate) fn prepare(request: SubmitRequest) -> Result<Accepted, SubmitError> {
    let mut spec: ComposeSpec = serde_json::from_slice(&request.spec).map_err(SubmitError::Spec)?;
    // Planned before anything is made: a spec that cannot be composed leaves nothing behind.
    planned(&spec)?;
    let target = Path::new(&request.target_dir);
    let top = make_directory(&mut spec, target)?;
    pass("submission.directory.made");
    let made = fill(request, spec, &top);
    if made.is_err() && !holds_only_state(&top) {
        // What was refused must not look like a compose.
        let _ = tutti_files::remove_dir_all(&top);
    }
    made
}

/// Fills the directory of a compose.
fn fill(request: SubmitRequest, spec: ComposeSpec, top: &Path) -> Result<Accepted, SubmitError> {
    let plan = planned(&spec)?;
    let volumes = Volumes::new(top);
    let sent: Vec<Digest> =
        request.blobs.iter().map(|blob| volume::put_blob(&volumes, &blob.data)).collect::<Result<_, _>>()?;
    for digest in spec.variants.iter().flat_map(|variant| variant.arches.values()).flat_map(|arch| arch.blobs()) {
        if !sent.contains(&digest) {
            return Err(SubmitError::Blob(digest.to_string()));
        }
    }
    pass("submission.blobs.written");
    write_files(top, &spec)?;
    pass("submission.files.written");
    write_comps(&volumes, &spec)?;
    pass("submission.comps.written");
    let meta = write_plan(&volumes, &spec, &plan, request.traceparent)?;
    pass("submission.plan.written");
    // Last: a directory with STATUS was accepted whole.
    volume::write_status(&volumes.top, "STARTED")?;
    Ok(Accepted { key: request.idempotency_key, spec, plan, meta })
}

/// Spec and plan as blobs, and where they are.
fn write_plan(volumes: &Volumes, spec: &ComposeSpec, plan: &Plan, traceparent: String) -> Result<Meta, SubmitError> {
    let spec_bytes = serde_json::to_vec(spec).map_err(SubmitError::Encode)?;
    let plan_bytes = serde_json::to_vec(plan).map_err(SubmitError::Encode)?;
    Ok(Meta {
        spec: volume::put_blob(volumes, &spec_bytes)?,
        plan: volume::put_blob(volumes, &plan_bytes)?,
        top: volumes.top.clone(),
        created: super::actor::now().0,
        traceparent: Some(traceparent).filter(|text| !text.is_empty()),
    })
}

fn planned(spec: &ComposeSpec) -> Result<Plan, SubmitError> {
    let (plan, _report) = plan(spec)?;
    match check(&plan).first() {
        Some(problem) => Err(SubmitError::Inconsistent(problem.to_string())),
        None => Ok(plan),
    }
}

/// Counts the respin, or takes the exact id that was asked for.
fn make_directory(spec: &mut ComposeSpec, target: &Path) -> Result<PathBuf, SubmitError> {
    let id = |id: &str| ComposeId::new(id).map(|_| ()).map_err(|source| SubmitError::Id { id: id.to_owned(), source });
    if spec.identity.compose_id.is_empty() {
        id(&format!("{}0", spec.identity.id_prefix))?;
        let (respin, top) = volume::reserve(target, &spec.identity.id_prefix, spec.identity.respin)?;
        spec.identity.respin = respin;
        spec.identity.compose_id = format!("{}{respin}", spec.identity.id_prefix);
        return Ok(top);
    }
    id(&spec.identity.compose_id)?;
    let top = target.join(&spec.identity.compose_id);
    match volume::reserve_exact(target, &spec.identity.compose_id)? {
        Some(top) => Ok(top),
        // `tutti compose` makes the directory first, to hold its state, and leaves the rest to us.
        None if holds_only_state(&top) => Ok(top),
        None => Err(SubmitError::Exists(top)),
    }
}

/// The filtered comps where Pungi has them, for people and for tools that look there.
fn write_comps(volumes: &Volumes, spec: &ComposeSpec) -> Result<(), SubmitError> {
    for variant in &spec.variants {
        for (arch, details) in &variant.arches {
            let Some(comps) = &details.comps else { continue };
            let name = format!("work/{arch}/comps/comps-{}.{arch}.xml", variant.uid);
            volume::write_atomically(&volumes.top.join(name), &volume::get_blob(volumes, comps)?)?;
        }
    }
    Ok(())
}

/// Whether nothing is in a directory but the state of an embedded controller. One that a rival submission of the same id
/// has just claimed has no state file.
fn holds_only_state(top: &Path) -> bool {
    if !top.join(volume::EMBEDDED_STATE).is_file() {
        return false;
    }
    let only = |dir: &Path, name: &str| {
        std::fs::read_dir(dir)
            .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == name)))
    };
    only(top, "work") && only(&top.join("work"), "tutti")
}

/// The files of a compose that people and tools look at first.
fn write_files(top: &Path, spec: &ComposeSpec) -> Result<(), SubmitError> {
    let id = &spec.identity.compose_id;
    volume::write_atomically(&top.join("COMPOSE_ID"), id.as_bytes())?;
    let dump = serde_json::to_vec_pretty(&spec.settings).map_err(SubmitError::Encode)?;
    volume::write_atomically(&top.join("logs/global/config-dump.global.log"), &dump)?;
    for dir in ["compose", "work/global", Volumes::STAGING] {
        let dir = top.join(dir);
        std::fs::create_dir_all(&dir).map_err(volume::at("create directory", &dir))?;
    }
    Ok(())
}
