//! What a compose is called and when it was made.

use jiff::tz::TimeZone;
use tutti_distro::{
    compose_id::{self, ComposeDate, ComposeId, ComposeIdentity, ComposeType, Error, Label, ReleaseType},
    config::Settings,
};

use crate::spec::{BaseProduct, Identity};

/// What the command line says of it.
#[derive(Clone, Debug, Default)]
pub struct IdentityOptions {
    /// Type, over `compose_type` of the configuration.
    pub compose_type: Option<ComposeType>,
    /// `--label`.
    pub label: Option<String>,
    /// `--no-label`: production without a label.
    pub no_label: bool,
    /// `--supported`.
    pub supported: bool,
    /// `--compose-id`.
    pub compose_id: Option<String>,
    /// `--date`.
    pub date: Option<String>,
    /// Seconds since 1970 from `SOURCE_DATE_EPOCH`.
    pub source_date_epoch: Option<i64>,
    /// Seconds since 1970 now.
    pub now: i64,
    /// The `latest-` link.
    pub latest: LatestLink,
}

/// Options of the `latest-` link.
#[derive(Clone, Debug, Default)]
pub struct LatestLink {
    /// `--no-latest-link`.
    pub off: bool,
    /// `--latest-link-status`; empty: FINISHED and FINISHED_INCOMPLETE.
    pub statuses: Vec<String>,
    /// `--latest-link-components`; none: the whole version.
    pub components: Option<usize>,
}

fn refused(what: &'static str, value: &str, hint: &'static str) -> Error {
    Error { what, value: value.to_owned(), hint }
}

/// Statuses that a compose can end with.
const STATUSES: [&str; 4] = ["FINISHED", "FINISHED_INCOMPLETE", "DOOMED", "TERMINATED"];

/// Returns the identity, with respin 0 and no id unless one was asked for, and the time that artefacts carry.
pub(super) fn resolve(settings: &Settings, options: &IdentityOptions) -> Result<(Identity, i64), Error> {
    let release = release(settings)?;
    release.validate()?;
    let kind = match (&options.compose_type, &settings.compose_type) {
        (Some(kind), _) => *kind,
        (None, Some(text)) => text.parse()?,
        (None, None) => ComposeType::Production,
    };
    let label: Option<Label> = options.label.as_deref().map(str::parse).transpose()?;
    // As pungi-koji: a production compose says what it is, or that it is nothing in particular.
    if kind == ComposeType::Production && label.is_none() && !options.no_label && options.compose_type.is_some() {
        return Err(refused("label", "", "a production compose needs --label, or --no-label"));
    }
    for status in &options.latest.statuses {
        if !STATUSES.contains(&status.as_str()) {
            return Err(refused(
                "latest-link status",
                status,
                "use FINISHED, FINISHED_INCOMPLETE, DOOMED or TERMINATED",
            ));
        }
    }
    let date = match (&options.date, options.source_date_epoch) {
        (Some(text), _) => ComposeDate::new(text.clone())?,
        (None, Some(epoch)) => ComposeDate::from_epoch(epoch, &TimeZone::UTC)?,
        (None, None) => ComposeDate::from_epoch(options.now, &TimeZone::system())?,
    };
    let first = ComposeIdentity { date: date.clone(), kind, respin: 0 };
    let first_id = first.id(&release)?.to_string();
    let compose_id = match &options.compose_id {
        Some(text) => ComposeId::new(text.clone())?.to_string(),
        None => String::new(),
    };
    let latest =
        if options.latest.off { None } else { Some(compose_id::latest_link(&release, options.latest.components)?) };
    let statuses = if options.latest.statuses.is_empty() {
        STATUSES[..2].iter().map(|status| (*status).to_owned()).collect()
    } else {
        options.latest.statuses.clone()
    };
    let identity = Identity {
        respin: respin_of(&compose_id),
        compose_id,
        id_prefix: first_id.trim_end_matches('0').to_owned(),
        compose_type: kind.as_str().to_owned(),
        date: date.to_string(),
        supported: options.supported || label.as_ref().is_some_and(Label::is_supported),
        label: label.map(|label| label.to_string()),
        release_name: release.name.clone(),
        release_short: release.short.clone(),
        release_version: release.version.clone(),
        release_type: release.kind.as_str().to_owned(),
        release_internal: release.internal,
        base_product: release.base_product.map(|base| BaseProduct {
            name: base.name,
            short: base.short,
            version: base.version,
            product_type: base.kind.as_str().to_owned(),
        }),
        latest_link: latest,
        latest_link_status: statuses,
    };
    Ok((identity, options.source_date_epoch.unwrap_or(options.now)))
}

/// The number at the end of an exact id; 0 where there is none.
fn respin_of(compose_id: &str) -> u32 {
    compose_id.rsplit('.').next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn release(settings: &Settings) -> Result<compose_id::Release, Error> {
    let kind: ReleaseType = settings.release.kind.parse()?;
    let base_product = match &settings.base_product {
        None => None,
        Some(base) => Some(compose_id::BaseProduct {
            name: base.name.clone(),
            short: base.short.clone(),
            version: base.version.clone(),
            kind: base.kind.parse()?,
        }),
    };
    Ok(compose_id::Release {
        name: settings.release.name.clone(),
        short: settings.release.short.clone(),
        version: settings.release.version.clone(),
        kind,
        internal: settings.release_internal,
        base_product,
    })
}
