//! Epoch, version, release, and RPM's order over them.
//!
//! Source of truth: rpm 4.20 `rpmio/rpmvercmp.c` (order of one version) and `rpmio/rpmver.c` (splitting a text, order of
//! labels). [`SortKey`] is the same order as bytes, for sorting many packages.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Epoch, version and release of a package or a dependency.
///
/// `Eq` and `Ord` are those of the text, for use as a map key; RPM's order is [`Evr::compare`], under which distinct texts may be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evr {
    /// Epoch; `None` where the header has none (it counts as 0).
    pub epoch: Option<u32>,
    /// Version.
    pub version: String,
    /// Release; empty in a dependency that has none.
    pub release: String,
}

impl Evr {
    /// Splits `[epoch:]version[-release]` as rpm does: leading digits followed by `:` are the epoch, the release starts
    /// after the last `-`. Never fails; an epoch above `u32::MAX` is taken as `u32::MAX`.
    ///
    /// ```
    /// let evr = tutti_rpm::Evr::parse("1:2.0-3");
    /// assert_eq!((evr.epoch, evr.version.as_str(), evr.release.as_str()), (Some(1), "2.0", "3"));
    /// ```
    pub fn parse(text: &str) -> Evr {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (epoch, rest) = match text[digits..].strip_prefix(':') {
            Some(rest) => (Some(parse_epoch(&text[..digits])), rest),
            None => (None, text),
        };
        let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Evr { epoch, version: version.to_owned(), release: release.to_owned() }
    }

    /// Epoch as a number; a missing one is 0.
    pub fn epoch_number(&self) -> u32 {
        self.epoch.unwrap_or(0)
    }

    /// Whether there is nothing to compare: no epoch, version or release.
    pub fn is_empty(&self) -> bool {
        self.epoch.is_none() && self.version.is_empty() && self.release.is_empty()
    }

    /// RPM's order of package labels: epoch (missing = 0), version, release; no release sorts before any.
    pub fn compare(&self, other: &Evr) -> Ordering {
        self.epoch_number()
            .cmp(&other.epoch_number())
            .then_with(|| version_compare(&self.version, &other.version))
            .then_with(|| match (self.release.is_empty(), other.release.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => version_compare(&self.release, &other.release),
            })
    }

    /// Bytes that order as [`Evr::compare`] does.
    pub fn sort_key(&self) -> SortKey {
        let mut key = Vec::with_capacity(16 + self.version.len() + self.release.len());
        key.extend_from_slice(&self.epoch_number().to_be_bytes());
        push_version(&mut key, &self.version);
        if self.release.is_empty() {
            key.push(0);
        } else {
            key.push(1);
            push_version(&mut key, &self.release);
        }
        SortKey(key.into_boxed_slice())
    }
}

impl fmt::Display for Evr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(epoch) = self.epoch {
            write!(formatter, "{epoch}:")?;
        }
        formatter.write_str(&self.version)?;
        if !self.release.is_empty() {
            write!(formatter, "-{}", self.release)?;
        }
        Ok(())
    }
}

fn parse_epoch(digits: &str) -> u32 {
    if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u32::MAX) }
}

/// One [`Evr`] as bytes: plain byte order is RPM's order, equal bytes mean RPM calls the two equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SortKey(Box<[u8]>);

impl SortKey {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Kinds of segment in the order in which rpmvercmp ranks them where two versions first differ.
const TILDE: u8 = 1;
const END: u8 = 2;
const CARET: u8 = 3;
const ALPHA: u8 = 4;
const DIGITS: u8 = 5;

/// One comparable piece of a version.
#[derive(Clone, Copy)]
struct Segment<'a> {
    kind: u8,
    /// Letters, or digits without leading zeros; empty for the other kinds.
    text: &'a [u8],
}

/// Splits a version into segments; every byte that is no ASCII letter, digit, `~` or `^` only separates.
struct Segments<'a>(&'a [u8]);

impl<'a> Segments<'a> {
    fn next(&mut self) -> Segment<'a> {
        let skip =
            self.0.iter().take_while(|byte| !byte.is_ascii_alphanumeric() && **byte != b'~' && **byte != b'^').count();
        let rest = &self.0[skip..];
        let (kind, length) = match rest.first() {
            None => (END, 0),
            Some(b'~') => (TILDE, 1),
            Some(b'^') => (CARET, 1),
            Some(first) if first.is_ascii_digit() => {
                (DIGITS, rest.iter().take_while(|byte| byte.is_ascii_digit()).count())
            }
            Some(_) => (ALPHA, rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count()),
        };
        let (text, after) = rest.split_at(length);
        self.0 = after;
        match kind {
            DIGITS => {
                let zeros = text.iter().take_while(|byte| **byte == b'0').count();
                Segment { kind, text: &text[zeros..] }
            }
            ALPHA => Segment { kind, text },
            _ => Segment { kind, text: &[] },
        }
    }
}

/// Compares two versions (or two releases) as rpm's `rpmvercmp` does.
///
/// Segments of letters or digits are compared in turn: numbers by value and above letters, `~` below the end of the
/// string, `^` above the end but below any further segment; everything else, also non-ASCII text, only separates.
pub fn version_compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (mut left, mut right) = (Segments(a.as_bytes()), Segments(b.as_bytes()));
    loop {
        let (one, two) = (left.next(), right.next());
        let mut order = one.kind.cmp(&two.kind);
        if order.is_eq() && one.kind == DIGITS {
            order = one.text.len().cmp(&two.text.len());
        }
        order = order.then_with(|| one.text.cmp(two.text));
        if order.is_ne() || one.kind == END {
            return order;
        }
    }
}

fn push_version(key: &mut Vec<u8>, version: &str) {
    let mut segments = Segments(version.as_bytes());
    loop {
        let segment = segments.next();
        key.push(segment.kind);
        match segment.kind {
            END => return,
            ALPHA => {
                key.extend_from_slice(segment.text);
                key.push(0);
            }
            DIGITS => {
                push_length(key, segment.text.len());
                key.extend_from_slice(segment.text);
            }
            _ => {}
        }
    }
}

/// Lengths below 255 take one byte; longer ones sort after all of those.
fn push_length(key: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < u8::MAX => key.push(short),
        _ => {
            key.push(u8::MAX);
            key.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
