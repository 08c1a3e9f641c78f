//! One package record: the file's identity, the package's facts and its fragments.

use serde::{Deserialize, Serialize};
use tutti_rpm::{Changelog, Dependency, Evr, FileEntry, FileKind, Package, Sense};

use crate::checksum::{Checksum, ChecksumType};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::fragment::{FragmentError, FragmentOptions, Fragments, MetadataFile};

/// Version of the encoded facts; raised with each change of their layout.
const FACTS_VERSION: u8 = 1;

/// What was known of the file when its record was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Size in bytes.
    pub size: u64,
    /// Modification time, seconds since 1970.
    pub mtime: u64,
    /// Checksum of the whole file.
    pub checksum: Checksum,
}

/// A record in its stored form, ready to be added to a file of records.
///
/// Making one needs no file: many threads can make records for one writer.
#[derive(Clone, Debug)]
pub struct Record {
    pub(crate) facts: Vec<u8>,
    pub(crate) primary: Vec<u8>,
    pub(crate) filelists: Vec<u8>,
    pub(crate) other: Vec<u8>,
}

impl Record {
    /// Makes the record of a package.
    ///
    /// # Errors
    /// When the package's texts cannot stand in XML.
    pub fn make(package: &Package, identity: &FileIdentity, options: &FragmentOptions) -> Result<Self, FragmentError> {
        Ok(Self { facts: encode_facts(package, identity), ..Self::of_fragments(package, options)? })
    }

    /// Makes a record that has no facts: enough to write metadata, and half the size.
    ///
    /// # Errors
    /// When the package's texts cannot stand in XML.
    pub fn of_fragments(package: &Package, options: &FragmentOptions) -> Result<Self, FragmentError> {
        let fragments = Fragments::make(package, options)?;
        let [primary, filelists, other] =
            [&fragments.primary, &fragments.filelists, &fragments.other].map(|fragment| {
                let mut out = Encoder::default();
                fragment.encode(&mut out);
                out.into_bytes()
            });
        // No version of facts: whoever asks for them is told so.
        Ok(Self { facts: vec![0], primary, filelists, other })
    }
}

/// Encodes identity and facts.
pub(crate) fn encode_facts(package: &Package, identity: &FileIdentity) -> Vec<u8> {
    let mut out = Encoder::default();
    out.u8(FACTS_VERSION);
    out.u64(identity.size);
    out.u64(identity.mtime);
    out.text(identity.checksum.kind().name());
    out.text(identity.checksum.hex());
    out.text(&package.name);
    put_evr(&mut out, &package.evr);
    for text in [&package.arch, &package.summary, &package.description] {
        out.text(text);
    }
    for text in optional_texts(package) {
        out.optional_text(text.as_deref());
    }
    for number in numbers(package) {
        out.u64(number);
    }
    for list in lists(package) {
        put_dependencies(&mut out, list);
    }
    out.length(package.files.len());
    for file in &package.files {
        out.u8(kind_code(file.kind));
        out.text(&file.path);
    }
    out.length(package.changelogs.len());
    for entry in &package.changelogs {
        out.u64(entry.time);
        out.text(&entry.author);
        out.text(&entry.text);
    }
    for list in [&package.exclude_arch, &package.exclusive_arch] {
        out.length(list.len());
        for arch in list {
            out.text(arch);
        }
    }
    out.into_bytes()
}

fn optional_texts(package: &Package) -> [&Option<String>; 8] {
    [
        &package.url,
        &package.license,
        &package.vendor,
        &package.group,
        &package.packager,
        &package.build_host,
        &package.source_rpm,
        &package.signing_key,
    ]
}

fn numbers(package: &Package) -> [u64; 5] {
    [package.build_time, package.installed_size, package.archive_size, package.header_start, package.header_end]
}

fn lists(package: &Package) -> [&[Dependency]; 8] {
    [
        &package.provides,
        &package.requires,
        &package.conflicts,
        &package.obsoletes,
        &package.recommends,
        &package.suggests,
        &package.supplements,
        &package.enhances,
    ]
}

fn kind_code(kind: FileKind) -> u8 {
    match kind {
        FileKind::File => 0,
        FileKind::Directory => 1,
        FileKind::Ghost => 2,
    }
}

fn put_evr(out: &mut Encoder, evr: &Evr) {
    out.u8(u8::from(evr.epoch.is_some()));
    out.u32(evr.epoch.unwrap_or(0));
    out.text(&evr.version);
    out.text(&evr.release);
}

fn put_dependencies(out: &mut Encoder, list: &[Dependency]) {
    out.length(list.len());
    for dependency in list {
        out.text(&dependency.name);
        out.u8(u8::from(dependency.pre));
        match &dependency.range {
            None => out.u8(0),
            Some((sense, evr)) => {
                out.u8(sense_code(*sense));
                put_evr(out, evr);
            }
        }
    }
}

fn sense_code(sense: Sense) -> u8 {
    match sense {
        Sense::Less => 1,
        Sense::Greater => 2,
        Sense::Equal => 3,
        Sense::LessEqual => 4,
        Sense::GreaterEqual => 5,
    }
}

/// Parts of the facts that a reader asks for. Making texts of the others would take most of its time.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// Summary and description.
    texts: bool,
    /// Lists of dependencies, from the first on: provides, requires, ….
    lists: usize,
    files: bool,
    changelogs: bool,
}

impl Wanted {
    const ALL: Self = Self { texts: true, lists: usize::MAX, files: true, changelogs: true };
    /// Provides, requires and files.
    pub(crate) const SOLVABLE: Self = Self { texts: false, lists: 2, files: true, changelogs: false };
    /// No list but those of arches.
    pub(crate) const HEAD: Self = Self { texts: false, lists: 0, files: false, changelogs: false };

    /// What a file lists of each package.
    pub(crate) fn by(file: MetadataFile) -> Self {
        match file {
            MetadataFile::Primary => Self { changelogs: false, ..Self::ALL },
            MetadataFile::Filelists | MetadataFile::FilelistsExt => Self { files: true, ..Self::HEAD },
            MetadataFile::Other => Self { changelogs: true, ..Self::HEAD },
        }
    }
}

/// Decodes identity and facts.
pub(crate) fn decode_facts(bytes: &[u8]) -> Result<(FileIdentity, Package), DecodeError> {
    decode_wanted(bytes, Wanted::ALL)
}

/// Decodes identity and some of the facts; the others are passed over and empty.
pub(crate) fn decode_wanted(bytes: &[u8], wanted: Wanted) -> Result<(FileIdentity, Package), DecodeError> {
    let mut input = Decoder::new(bytes);
    if input.u8()? != FACTS_VERSION {
        return Err(DecodeError("facts of an unknown version"));
    }
    let identity = get_identity(&mut input)?;
    let mut package =
        Package { name: input.text()?, evr: get_evr(&mut input)?, arch: input.text()?, ..Package::default() };
    for text in [&mut package.summary, &mut package.description] {
        if wanted.texts {
            *text = input.text()?;
        } else {
            input.skip_text()?;
        }
    }
    get_optional_texts(&mut input, &mut package)?;
    for number in [
        &mut package.build_time,
        &mut package.installed_size,
        &mut package.archive_size,
        &mut package.header_start,
        &mut package.header_end,
    ] {
        *number = input.u64()?;
    }
    get_lists(&mut input, &mut package, wanted)?;
    for list in [&mut package.exclude_arch, &mut package.exclusive_arch] {
        *list = (0..input.count(4)?).map(|_| input.text()).collect::<Result<_, _>>()?;
    }
    input.end()?;
    Ok((identity, package))
}

fn get_identity(input: &mut Decoder<'_>) -> Result<FileIdentity, DecodeError> {
    let (size, mtime) = (input.u64()?, input.u64()?);
    let kind: ChecksumType = input.text()?.parse().map_err(|_| DecodeError("unknown checksum type"))?;
    let checksum = Checksum::new(kind, &input.text()?).map_err(|_| DecodeError("bad checksum digits"))?;
    Ok(FileIdentity { size, mtime, checksum })
}

fn get_optional_texts(input: &mut Decoder<'_>, package: &mut Package) -> Result<(), DecodeError> {
    for text in [
        &mut package.url,
        &mut package.license,
        &mut package.vendor,
        &mut package.group,
        &mut package.packager,
        &mut package.build_host,
        &mut package.source_rpm,
        &mut package.signing_key,
    ] {
        *text = input.optional_text()?;
    }
    Ok(())
}

fn get_lists(input: &mut Decoder<'_>, package: &mut Package, wanted: Wanted) -> Result<(), DecodeError> {
    let lists = [
        &mut package.provides,
        &mut package.requires,
        &mut package.conflicts,
        &mut package.obsoletes,
        &mut package.recommends,
        &mut package.suggests,
        &mut package.supplements,
        &mut package.enhances,
    ];
    for (number, list) in lists.into_iter().enumerate() {
        *list = get_list(input, 6, number < wanted.lists, get_dependency, skip_dependency)?;
    }
    package.files = get_list(input, 5, wanted.files, get_file, |input| {
        input.raw(1)?;
        input.skip_text()
    })?;
    package.changelogs = get_list(
        input,
        16,
        wanted.changelogs,
        |input| Ok(Changelog { time: input.u64()?, author: input.text()?, text: input.text()? }),
        |input| {
            input.u64()?;
            input.skip_text()?;
            input.skip_text()
        },
    )?;
    Ok(())
}

/// A list whose items take at least `smallest` bytes each; empty, and passed over, when it is not wanted.
fn get_list<'a, T>(
    input: &mut Decoder<'a>,
    smallest: usize,
    wanted: bool,
    get: impl Fn(&mut Decoder<'a>) -> Result<T, DecodeError>,
    skip: impl Fn(&mut Decoder<'a>) -> Result<(), DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = input.count(smallest)?;
    if wanted {
        return (0..count).map(|_| get(input)).collect();
    }
    (0..count).try_for_each(|_| skip(input))?;
    Ok(Vec::new())
}

fn get_evr(input: &mut Decoder<'_>) -> Result<Evr, DecodeError> {
    let has_epoch = input.flag()?;
    let epoch = input.u32()?;
    Ok(Evr { epoch: has_epoch.then_some(epoch), version: input.text()?, release: input.text()? })
}

fn get_dependency(input: &mut Decoder<'_>) -> Result<Dependency, DecodeError> {
    let (name, pre) = (input.text()?, input.flag()?);
    let sense = match input.u8()? {
        0 => return Ok(Dependency { name, range: None, pre }),
        1 => Sense::Less,
        2 => Sense::Greater,
        3 => Sense::Equal,
        4 => Sense::LessEqual,
        5 => Sense::GreaterEqual,
        _ => return Err(DecodeError("unknown sense of a dependency")),
    };
    Ok(Dependency { name, range: Some((sense, get_evr(input)?)), pre })
}

fn skip_dependency(input: &mut Decoder<'_>) -> Result<(), DecodeError> {
    input.skip_text()?;
    input.flag()?;
    if input.u8()? != 0 {
        input.raw(5)?;
        input.skip_text()?;
        input.skip_text()?;
    }
    Ok(())
}

fn get_file(input: &mut Decoder<'_>) -> Result<FileEntry, DecodeError> {
    let kind = match input.u8()? {
        0 => FileKind::File,
        1 => FileKind::Directory,
        2 => FileKind::Ghost,
        _ => return Err(DecodeError("unknown kind of file")),
    };
    Ok(FileEntry { path: input.text()?, kind })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn evr() -> impl Strategy<Value = Evr> {
        (any::<Option<u32>>(), "[0-9a-z.~^]{0,8}", "[0-9a-z.]{0,5}").prop_map(|(epoch, version, release)| Evr {
            epoch,
            version,
            release,
        })
    }

    fn dependencies() -> impl Strategy<Value = Vec<Dependency>> {
        let sense = prop::sample::select(vec![
            Sense::Less,
            Sense::Greater,
            Sense::Equal,
            Sense::LessEqual,
            Sense::GreaterEqual,
        ]);
        let dependency = ("\\PC{1,20}", prop::option::of((sense, evr())), any::<bool>())
            .prop_map(|(name, range, pre)| Dependency { name, range, pre });
        prop::collection::vec(dependency, 0..4)
    }

    prop_compose! {
        /// A package with every field set to something that XML can hold.
        pub(crate) fn packages()(
            texts in prop::array::uniform12("\\PC{0,20}"),
            url in any::<bool>(),
            evr in evr(),
            lists in prop::array::uniform8(dependencies()),
            numbers in prop::array::uniform5(any::<u64>()),
            files in prop::collection::vec(("(/usr/bin|/etc|/opt)/\\PC{1,10}", 0..3u8), 0..5),
            changelogs in prop::collection::vec(("\\PC{1,10}", 1..5u64, "\\PC{0,30}"), 0..14),
        ) -> Package {
            let kinds = [FileKind::File, FileKind::Directory, FileKind::Ghost];
            let mut texts = texts.into_iter();
            let mut text = || texts.next().unwrap_or_default();
            let mut lists = lists.into_iter();
            let mut list = || lists.next().unwrap_or_default();
            Package {
                name: text(), arch: text(), summary: text(), description: text(),
                url: url.then(&mut text), license: Some(text()), vendor: Some(text()), group: Some(text()),
                packager: Some(text()), build_host: Some(text()), source_rpm: Some(text()), signing_key: None,
                evr,
                build_time: numbers[0], installed_size: numbers[1], archive_size: numbers[2],
                header_start: numbers[3], header_end: numbers[4],
                provides: list(), requires: list(), conflicts: list(), obsoletes: list(),
                recommends: list(), suggests: list(), supplements: list(), enhances: list(),
                files: files.into_iter()
                    .map(|(path, kind)| FileEntry { path, kind: kinds[usize::from(kind)] }).collect(),
                changelogs: changelogs.into_iter()
                    .map(|(author, time, text)| Changelog { author, time, text }).collect(),
                exclude_arch: vec!["x86_64".into()], exclusive_arch: Vec::new(), file_digests: None,
            }
        }
    }

    fn identity() -> FileIdentity {
        FileIdentity { size: 1, mtime: 2, checksum: ChecksumType::Sha512.hash(b"x") }
    }

    proptest! {
        #[test]
        fn facts_round_trip(package in packages()) {
            let bytes = encode_facts(&package, &identity());
            prop_assert_eq!(decode_facts(&bytes), Ok((identity(), package.clone())));
            let empty = Package {
                summary: String::new(), description: String::new(), changelogs: vec![],
                conflicts: vec![], obsoletes: vec![], recommends: vec![], suggests: vec![], supplements: vec![],
                enhances: vec![], ..package
            };
            prop_assert_eq!(decode_wanted(&bytes, Wanted::SOLVABLE), Ok((identity(), empty.clone())));
            let empty = Package { provides: vec![], requires: vec![], files: vec![], ..empty };
            prop_assert_eq!(decode_wanted(&bytes, Wanted::HEAD), Ok((identity(), empty)));
        }

        #[test]
        fn damaged_facts_never_panic(package in packages(), at in any::<prop::sample::Index>(), value: u8) {
            let mut bytes = encode_facts(&package, &identity());
            let at = at.index(bytes.len());
            for wanted in [Wanted::ALL, Wanted::SOLVABLE, Wanted::HEAD] {
                prop_assert!(decode_wanted(&bytes[..at], wanted).is_err());
            }
            bytes[at] = value;
            let _ = decode_facts(&bytes);
            let _ = decode_wanted(&bytes, Wanted::HEAD);
        }
    }
}
