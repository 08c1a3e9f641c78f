//! Bytes of a universe, reading side: everything is checked, nothing is believed.

use std::sync::{Arc, OnceLock};

use tutti_rpm::Sense;

use super::encode::{HEADER, MAGIC};
use super::{
    DependencyRecord, EvrRecord, FORMAT, MAX_SECTION, NONE, PackageRecord, Strings, Universe, UniverseError, checksum,
};

type Result<T> = std::result::Result<T, UniverseError>;

pub(super) fn damaged<T>(what: &'static str) -> Result<T> {
    Err(UniverseError::Damaged { what })
}

/// Little-endian reader over one section.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let Some((head, tail)) = self.0.split_at_checked(length) else { return damaged("ends early") };
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    fn u64(&mut self) -> Result<u64> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    /// Reads `count` rows of `N` numbers.
    pub(super) fn rows<const N: usize>(&mut self, count: u32) -> Result<Vec<[u32; N]>> {
        let bytes = self.take((count as usize).checked_mul(4 * N).ok_or(UniverseError::Damaged { what: "count" })?)?;
        Ok(bytes
            .chunks_exact(4 * N)
            .map(|row| {
                let mut numbers = [0; N];
                for (number, bytes) in numbers.iter_mut().zip(row.chunks_exact(4)) {
                    *number = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
                }
                numbers
            })
            .collect())
    }

    pub(super) fn numbers(&mut self, count: u32) -> Result<Vec<u32>> {
        Ok(self.rows::<1>(count)?.into_iter().map(|[number]| number).collect())
    }

    pub(super) fn strings(&mut self, ends: Vec<u32>, length: u32) -> Result<Strings> {
        let bytes = self.take(length as usize)?.to_vec();
        let Ok(text) = String::from_utf8(bytes) else { return damaged("text is not UTF-8") };
        let mut start = 0;
        let mut previous: Option<&str> = None;
        for end in &ends {
            let Some(string) = text.get(start..*end as usize) else { return damaged("end of a string") };
            if previous.is_some_and(|previous| previous >= string) {
                return damaged("strings are not sorted");
            }
            previous = Some(string);
            start = *end as usize;
        }
        if start != text.len() {
            return damaged("text without a string");
        }
        Ok(Strings { ends, text })
    }
}

/// Unpacks a section whose plain length must be exactly as declared.
pub(super) fn unpack(section: &'static str, packed: &[u8], length: u64) -> Result<Vec<u8>> {
    let zstd = |error: std::io::Error| UniverseError::Zstd { section, message: error.to_string() };
    // The caller has compared a checksum and the bound: the length is what was written.
    let plain = zstd::bulk::decompress(packed, usize::try_from(length).unwrap_or(usize::MAX)).map_err(zstd)?;
    if plain.len() as u64 == length { Ok(plain) } else { damaged("plain length of a section") }
}

pub(super) fn open(bytes: Arc<[u8]>) -> Result<Universe> {
    if !bytes.starts_with(&MAGIC) {
        return Err(UniverseError::Magic);
    }
    if bytes.len() < HEADER + 8 {
        return damaged("ends early");
    }
    let (body, sum) = bytes.split_at(bytes.len() - 8);
    let mut header = Reader(&body[8..HEADER]);
    let found = header.u32()?;
    if found != FORMAT {
        return Err(UniverseError::Format { found });
    }
    if sum != checksum(body).to_le_bytes() || header.u32()? != 0 {
        return damaged("checksum");
    }
    let [main_packed, main_len, files_packed, files_len] = [header.u64()?, header.u64()?, header.u64()?, header.u64()?];
    let room = (body.len() - HEADER) as u64;
    if main_packed > room || files_packed != room - main_packed {
        return damaged("length of a section");
    }
    if main_len > MAX_SECTION || files_len > MAX_SECTION {
        return damaged("section over the bound");
    }
    let files_start = HEADER + main_packed as usize;
    let plain = unpack("main", &body[HEADER..files_start], main_len)?;
    let files_at = files_start..body.len();
    let mut universe = main(&plain)?;
    universe.files_at = files_at;
    universe.files_len = files_len;
    universe.bytes = bytes;
    Ok(universe)
}

fn main(plain: &[u8]) -> Result<Universe> {
    let mut reader = Reader(plain);
    let [[strings, text, evrs, dependencies, packages, provides, requires, arch]] = reader.rows::<8>(1)?[..] else {
        return damaged("ends early");
    };
    let ends = reader.numbers(strings)?;
    let evrs = reader.rows::<4>(evrs)?;
    let dependencies = reader.rows::<3>(dependencies)?;
    let packages = reader.rows::<7>(packages)?;
    let provides = reader.numbers(provides)?;
    let requires = reader.numbers(requires)?;
    let strings = reader.strings(ends, text)?;
    if !reader.0.is_empty() {
        return damaged("bytes after the last string");
    }
    let universe = Universe {
        bytes: Arc::new([]),
        files_at: 0..0,
        files_len: 0,
        arch,
        strings,
        evrs: evrs
            .into_iter()
            .map(|[epoch, version, release, rank]| EvrRecord { epoch, version, release, rank })
            .collect(),
        dependencies: dependencies.into_iter().map(dependency).collect::<Result<_>>()?,
        packages: packages
            .into_iter()
            .map(|[name, evr, arch, source_rpm, origin, provides_end, requires_end]| PackageRecord {
                name,
                evr,
                arch,
                source_rpm,
                origin,
                provides_end,
                requires_end,
            })
            .collect(),
        provides,
        requires,
        files: OnceLock::new(),
    };
    check(&universe)?;
    Ok(universe)
}

fn dependency([name, sense, evr]: [u32; 3]) -> Result<DependencyRecord> {
    let sense = match sense {
        0 => None,
        bits => match Sense::from_bits(bits).filter(|sense| sense.bits() == bits) {
            Some(sense) => Some(sense),
            None => return damaged("sense of a dependency"),
        },
    };
    if sense.is_some() != (evr != NONE) {
        return damaged("version of a dependency");
    }
    Ok(DependencyRecord { name, sense, evr })
}

/// Checks every index and order that a solve relies on.
fn check(universe: &Universe) -> Result<()> {
    let strings = universe.strings.len() as u64;
    let string = |id: u32| u64::from(id) < strings;
    let evr = |id: u32| (id as usize) < universe.evrs.len();
    if !string(universe.arch) {
        return damaged("architecture");
    }
    if !universe.evrs.iter().all(|record| string(record.version) && string(record.release)) {
        return damaged("string of an EVR");
    }
    if !universe.evrs.is_sorted_by(|a, b| a.rank <= b.rank) {
        return damaged("order of EVRs");
    }
    if !universe.dependencies.iter().all(|record| string(record.name) && (record.sense.is_none() || evr(record.evr))) {
        return damaged("string of a dependency");
    }
    let dependencies = universe.dependencies.len();
    if !universe.provides.iter().chain(&universe.requires).all(|id| (*id as usize) < dependencies) {
        return damaged("dependency of a package");
    }
    let (mut provides_end, mut requires_end) = (0, 0);
    let mut previous = None;
    for package in &universe.packages {
        let source = package.source_rpm == NONE || string(package.source_rpm);
        if !(string(package.name) && evr(package.evr) && string(package.arch) && source) {
            return damaged("string of a package");
        }
        if package.provides_end < provides_end || package.requires_end < requires_end {
            return damaged("dependencies of a package");
        }
        (provides_end, requires_end) = (package.provides_end, package.requires_end);
        let key = (package.name, universe.evrs[package.evr as usize].rank, package.arch);
        if previous.is_some_and(|previous| previous > key) {
            return damaged("order of packages");
        }
        previous = Some(key);
    }
    if provides_end as usize != universe.provides.len() || requires_end as usize != universe.requires.len() {
        return damaged("dependencies of the last package");
    }
    Ok(())
}
