//! Keys of the store.
//!
//! | key | value |
//! |---|---|
//! | `/tutti/v1/leader` | the leading controller, under a lease |
//! | `/tutti/v1/c/ID/m` | where the compose is: its directory, digests of spec and plan (JSON) |
//! | `/tutti/v1/c/ID/h` | header: status (version byte + protobuf) |
//! | `/tutti/v1/c/ID/j/NUMBER` | one job's record (version byte + protobuf); absent while it waits untouched |
//! | `/tutti/v1/losses` | workers that were lost in the recent past, all composes' (JSON) |
//! | `/tutti/v1/s/KEY` | compose id of a submission with that idempotency key |

/// The leader key.
pub const LEADER: &[u8] = b"/tutti/v1/leader";

/// Workers that were lost.
pub(super) const LOSSES: &[u8] = b"/tutti/v1/losses";

/// Prefix of everything of composes.
pub(crate) const COMPOSES: &str = "/tutti/v1/c/";

pub(super) fn meta(compose_id: &str) -> Vec<u8> {
    format!("{COMPOSES}{compose_id}/m").into_bytes()
}

pub(super) fn header(compose_id: &str) -> Vec<u8> {
    format!("{COMPOSES}{compose_id}/h").into_bytes()
}

pub(super) fn job(compose_id: &str, number: u32) -> Vec<u8> {
    format!("{COMPOSES}{compose_id}/j/{number:08}").into_bytes()
}

/// Prefix of idempotency keys.
pub(super) const SUBMISSIONS: &str = "/tutti/v1/s/";

pub(super) fn submission(key: &str) -> Vec<u8> {
    format!("{SUBMISSIONS}{key}").into_bytes()
}

/// What a key below [`COMPOSES`] is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ComposeKey<'a> {
    Meta(&'a str),
    Header(&'a str),
    Job(&'a str, u32),
}

impl<'a> ComposeKey<'a> {
    /// The compose that it belongs to.
    pub(crate) fn compose(&self) -> &'a str {
        match self {
            Self::Meta(id) | Self::Header(id) | Self::Job(id, _) => id,
        }
    }
}

/// Reads a key back; `None` for one that this version does not know.
pub(crate) fn parse(key: &[u8]) -> Option<ComposeKey<'_>> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(COMPOSES)?;
    let (id, rest) = rest.split_once('/')?;
    match rest {
        "m" => Some(ComposeKey::Meta(id)),
        "h" => Some(ComposeKey::Header(id)),
        _ => Some(ComposeKey::Job(id, rest.strip_prefix("j/")?.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_can_be_read_back() {
        assert_eq!(parse(&meta("C-1")), Some(ComposeKey::Meta("C-1")));
        assert_eq!(parse(&header("C-1")), Some(ComposeKey::Header("C-1")));
        assert_eq!(parse(&job("C-1", 42)), Some(ComposeKey::Job("C-1", 42)));
        assert_eq!(parse(b"/tutti/v1/leader"), None);
        assert!(job("C-1", 9) < job("C-1", 10));
    }
}
