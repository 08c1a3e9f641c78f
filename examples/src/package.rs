//! One RPM file.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::{
    cpio::{self, Member},
    header::{Header, word},
};

/// 2026-01-01: when nobody says otherwise.
const DEFAULT_BUILD_TIME: u32 = 1_767_225_600;
/// `RPMSENSE_RPMLIB` and `<=`.
const RPMLIB: u32 = 0x0100_0000 | 0x0a;
const DIRECTORY: u16 = 0o040_755;
const REGULAR: u16 = 0o100_644;
const EXECUTABLE: u16 = 0o100_755;

/// Returns the build time of packages: `SOURCE_DATE_EPOCH`, else a constant.
#[must_use]
pub fn build_time() -> u32 {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(DEFAULT_BUILD_TIME)
}

/// What kind of dependency: the tags of name, version and flags (rpm 4.18 `lib/rpmtag.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Relation {
    Provides,
    Requires,
    Conflicts,
    Obsoletes,
    Recommends,
    Suggests,
    Supplements,
    Enhances,
}

impl Relation {
    fn tags(self) -> [u32; 3] {
        match self {
            Self::Provides => [1047, 1113, 1112],
            Self::Requires => [1049, 1050, 1048],
            Self::Conflicts => [1054, 1055, 1053],
            Self::Obsoletes => [1090, 1115, 1114],
            Self::Recommends => [5046, 5047, 5048],
            Self::Suggests => [5049, 5050, 5051],
            Self::Supplements => [5052, 5053, 5054],
            Self::Enhances => [5055, 5056, 5057],
        }
    }
}

#[derive(Clone, Debug)]
enum Content {
    Directory,
    Regular(Vec<u8>),
    Executable(Vec<u8>),
}

/// An RPM package to be written.
#[derive(Clone, Debug)]
pub struct Package {
    name: String,
    epoch: Option<u32>,
    version: String,
    release: String,
    arch: String,
    summary: String,
    /// File name of the source package; none: this is one.
    source: Option<String>,
    exclusive_arch: Vec<String>,
    relations: BTreeMap<Relation, Vec<(String, u32, String)>>,
    files: BTreeMap<String, Content>,
    build_time: u32,
}

impl Package {
    /// A binary package with what rpmbuild adds to each: it provides itself, for its architecture too.
    #[must_use]
    pub fn binary(name: &str, version: &str, release: &str, arch: &str) -> Self {
        let mut package = Self::plain(name, version, release, arch);
        package.source = Some(format!("{name}-{version}-{release}.src.rpm"));
        package
    }

    /// A source package with its specification and an archive.
    #[must_use]
    pub fn source(name: &str, version: &str, release: &str) -> Self {
        let mut package = Self::plain(name, version, release, "x86_64");
        let specification = format!("Name: {name}\nVersion: {version}\nRelease: {release}\n");
        package.files.insert(format!("{name}.spec"), Content::Regular(specification.into_bytes()));
        let archive = format!("sources of {name} {version}\n");
        package.files.insert(format!("{name}-{version}.tar"), Content::Regular(archive.into_bytes()));
        package
    }

    fn plain(name: &str, version: &str, release: &str, arch: &str) -> Self {
        Self {
            name: name.into(),
            epoch: None,
            version: version.into(),
            release: release.into(),
            arch: arch.into(),
            summary: format!("The {name} package of the demo distribution"),
            source: None,
            exclusive_arch: Vec::new(),
            relations: BTreeMap::new(),
            files: BTreeMap::new(),
            build_time: build_time(),
        }
    }

    /// Sets the epoch.
    #[must_use]
    pub fn epoch(mut self, epoch: Option<u32>) -> Self {
        self.epoch = epoch;
        self
    }

    /// Sets the time of the build and of all files, in seconds since 1970.
    #[must_use]
    pub fn built_at(mut self, time: u32) -> Self {
        self.build_time = time;
        self
    }

    /// Sets the summary.
    #[must_use]
    pub fn summary(mut self, summary: &str) -> Self {
        self.summary = summary.into();
        self
    }

    /// Names the source package that a binary package was built from.
    #[must_use]
    pub fn from_source(mut self, file_name: &str) -> Self {
        self.source = Some(file_name.into());
        self
    }

    /// Limits a source package, or a noarch one, to these architectures.
    #[must_use]
    pub fn exclusive_arch(mut self, arches: &[&str]) -> Self {
        self.exclusive_arch = arches.iter().map(|&arch| arch.to_owned()).collect();
        self
    }

    fn relate(mut self, relation: Relation, dependency: &str) -> Self {
        self.relations.entry(relation).or_default().push(parse_dependency(dependency));
        self
    }

    /// Adds a provide: `name`, or `name = version`.
    #[must_use]
    pub fn provides(self, dependency: &str) -> Self {
        self.relate(Relation::Provides, dependency)
    }

    /// Adds a requirement: `name`, `name >= version`, `/path`, or a rich one in parentheses.
    #[must_use]
    pub fn requires(self, dependency: &str) -> Self {
        self.relate(Relation::Requires, dependency)
    }

    /// Adds a conflict.
    #[must_use]
    pub fn conflicts(self, dependency: &str) -> Self {
        self.relate(Relation::Conflicts, dependency)
    }

    /// Adds an obsoletion.
    #[must_use]
    pub fn obsoletes(self, dependency: &str) -> Self {
        self.relate(Relation::Obsoletes, dependency)
    }

    /// Adds a recommendation.
    #[must_use]
    pub fn recommends(self, dependency: &str) -> Self {
        self.relate(Relation::Recommends, dependency)
    }

    /// Adds a suggestion.
    #[must_use]
    pub fn suggests(self, dependency: &str) -> Self {
        self.relate(Relation::Suggests, dependency)
    }

    /// Adds a reverse recommendation.
    #[must_use]
    pub fn supplements(self, dependency: &str) -> Self {
        self.relate(Relation::Supplements, dependency)
    }

    /// Adds a reverse suggestion.
    #[must_use]
    pub fn enhances(self, dependency: &str) -> Self {
        self.relate(Relation::Enhances, dependency)
    }

    /// Adds a directory.
    #[must_use]
    pub fn directory(mut self, path: &str) -> Self {
        self.files.insert(path.into(), Content::Directory);
        self
    }

    /// Adds a file, an executable one if it lies in a directory of programs.
    #[must_use]
    pub fn file(mut self, path: &str, data: &str) -> Self {
        let program = ["/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/"].iter().any(|place| path.starts_with(place));
        let data = data.as_bytes().to_vec();
        self.files.insert(path.into(), if program { Content::Executable(data) } else { Content::Regular(data) });
        self
    }

    fn is_source(&self) -> bool {
        self.source.is_none()
    }

    /// `EPOCH:VERSION-RELEASE`, without an epoch of none.
    #[must_use]
    pub fn evr(&self) -> String {
        let epoch = self.epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
        format!("{epoch}{}-{}", self.version, self.release)
    }

    /// `NAME-VERSION-RELEASE.ARCH.rpm`.
    #[must_use]
    pub fn file_name(&self) -> String {
        let arch = if self.is_source() { "src" } else { &self.arch };
        format!("{}-{}-{}.{arch}.rpm", self.name, self.version, self.release)
    }

    /// Writes the file into `directory` under its own name, with the build time as its mtime.
    ///
    /// # Errors
    /// If the directory or the file cannot be written.
    pub fn write_into(&self, directory: &Path) -> Result<PathBuf> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join(self.file_name());
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(&self.to_bytes()?)?;
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(self.build_time)))
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// If the payload cannot be compressed.
    pub fn to_bytes(&self) -> std::io::Result<Vec<u8>> {
        let archive = self.archive();
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::new(6));
        gzip.write_all(&archive)?;
        let payload = gzip.finish()?;
        let header = self.header(&archive, &payload).to_bytes(63);
        let signature = signature(&header, &payload, archive.len()).to_bytes(62);
        let mut out = self.lead();
        out.extend(signature);
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend(header);
        out.extend(payload);
        Ok(out)
    }

    /// Lead (rpm 4.18 `lib/rpmlead.c`): only its magic, version and type still mean something.
    fn lead(&self) -> Vec<u8> {
        let mut lead = vec![0; 96];
        lead[..6].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3, 0]);
        lead[7] = u8::from(self.is_source());
        lead[9] = if self.arch == "aarch64" { 19 } else { 1 };
        let name = format!("{}-{}-{}", self.name, self.version, self.release);
        let length = name.len().min(65);
        lead[10..10 + length].copy_from_slice(&name.as_bytes()[..length]);
        lead[77] = 1;
        lead[79] = 5;
        lead
    }

    fn archive(&self) -> Vec<u8> {
        let members: Vec<Member<'_>> = (1..)
            .zip(&self.files)
            .map(|(inode, (path, content))| Member {
                name: if self.is_source() { path.clone() } else { format!(".{path}") },
                inode,
                mode: content.mode().into(),
                mtime: self.build_time,
                data: content.data(),
            })
            .collect();
        cpio::archive(&members)
    }

    fn header(&self, archive: &[u8], payload: &[u8]) -> Header {
        let mut header = Header::default();
        self.put_identity(&mut header);
        self.put_files(&mut header);
        self.put_relations(&mut header);
        header.string(1124, "cpio");
        header.string(1125, "gzip");
        header.string(1126, "6");
        header.strings(5092, [hex(&Sha256::digest(payload)).as_str()]);
        header.numbers(5093, [8]);
        header.strings(5097, [hex(&Sha256::digest(archive)).as_str()]);
        header
    }

    fn put_identity(&self, header: &mut Header) {
        header.strings(100, ["C"]);
        for (tag, text) in [(1000, &self.name), (1001, &self.version), (1002, &self.release), (1022, &self.arch)] {
            header.string(tag, text);
        }
        header.numbers(1003, self.epoch);
        header.translated(1004, &self.summary);
        header.translated(1005, &format!("{}.\nIt does nothing, and does it well.", self.summary));
        header.numbers(1006, [self.build_time]);
        header.string(1007, "builder.demo.example");
        header.string(1011, "Tutti Demo");
        header.string(1014, "Apache-2.0 OR MIT");
        header.translated(1016, "Unspecified");
        header.string(1020, "https://demo.example/");
        header.string(1021, "linux");
        header.string(1064, "4.18.0");
        match &self.source {
            Some(source) => header.string(1044, source),
            None => header.numbers(1106, [1]),
        }
        header.strings(1061, self.exclusive_arch.iter().map(String::as_str));
        // Changelog entries are dated at noon (rpm 4.18 `build/parseChangelog.c`).
        header.numbers(1080, [self.build_time - self.build_time % 86_400 + 43_200]);
        header.strings(1081, [format!("Demo <demo@demo.example> - {}", self.evr()).as_str()]);
        header.strings(1082, [format!("- {} {}", self.name, self.version).as_str()]);
    }

    fn put_files(&self, header: &mut Header) {
        let contents: Vec<&Content> = self.files.values().collect();
        let size: usize = contents.iter().map(|content| content.data().len()).sum();
        header.numbers(1009, [word(size)]);
        if contents.is_empty() {
            return;
        }
        let count = contents.len();
        let same = |text: &'static str| std::iter::repeat_n(text, count);
        let mut directories: Vec<&str> = Vec::new();
        let mut indexes = Vec::new();
        for path in self.files.keys() {
            let directory = path.rfind('/').map_or("", |slash| &path[..=slash]);
            let known = directories.iter().position(|&other| other == directory);
            indexes.push(word(known.unwrap_or(directories.len())));
            if known.is_none() {
                directories.push(directory);
            }
        }
        let digests: Vec<String> = contents.iter().map(|content| content.digest()).collect();
        header.numbers(1028, contents.iter().map(|content| word(content.data().len())));
        header.short_numbers(1030, contents.iter().map(|content| content.mode()));
        header.short_numbers(1033, std::iter::repeat_n(0, count));
        header.numbers(1034, std::iter::repeat_n(self.build_time, count));
        header.strings(1035, digests.iter().map(String::as_str));
        header.strings(1036, same(""));
        header.numbers(1037, std::iter::repeat_n(0, count));
        header.strings(1039, same("root"));
        header.strings(1040, same("root"));
        header.numbers(1045, std::iter::repeat_n(u32::MAX, count));
        header.numbers(1095, std::iter::repeat_n(1, count));
        header.numbers(1096, 1..=word(count));
        header.strings(1097, same(""));
        header.numbers(1116, indexes);
        header.strings(
            1117,
            self.files.keys().map(|path| path.rfind('/').map_or(path.as_str(), |slash| &path[slash + 1..])),
        );
        header.strings(1118, directories);
        header.numbers(5011, [8]);
    }

    fn put_relations(&self, header: &mut Header) {
        let mut relations = self.relations.clone();
        if !self.is_source() {
            let provides = relations.entry(Relation::Provides).or_default();
            provides.push((self.name.clone(), 8, self.evr()));
            if let Some(isa) = isa(&self.arch) {
                provides.push((format!("{}{isa}", self.name), 8, self.evr()));
            }
        }
        let requires = relations.entry(Relation::Requires).or_default();
        let rich = requires.iter().any(|(name, _, _)| name.starts_with('('));
        let features = [("CompressedFileNames", "3.0.4-1", true), ("FileDigests", "4.6.0-1", true)];
        let more = [("PayloadFilesHavePrefix", "4.0-1", !self.is_source()), ("RichDependencies", "4.12.0-1", rich)];
        for (feature, version, _) in features.into_iter().chain(more).filter(|(_, _, used)| *used) {
            requires.push((format!("rpmlib({feature})"), RPMLIB, version.into()));
        }
        for (relation, mut dependencies) in relations {
            dependencies.sort();
            dependencies.dedup();
            let [name, version, flags] = relation.tags();
            header.strings(name, dependencies.iter().map(|dependency| dependency.0.as_str()));
            header.numbers(flags, dependencies.iter().map(|dependency| dependency.1));
            header.strings(version, dependencies.iter().map(|dependency| dependency.2.as_str()));
        }
    }
}

impl Content {
    fn mode(&self) -> u16 {
        match self {
            Self::Directory => DIRECTORY,
            Self::Regular(_) => REGULAR,
            Self::Executable(_) => EXECUTABLE,
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Self::Directory => &[],
            Self::Regular(data) | Self::Executable(data) => data,
        }
    }

    fn digest(&self) -> String {
        match self {
            Self::Directory => String::new(),
            Self::Regular(data) | Self::Executable(data) => hex(&Sha256::digest(data)),
        }
    }
}

/// What rpm appends to names for an architecture (`%_isa`).
fn isa(arch: &str) -> Option<&'static str> {
    match arch {
        "x86_64" => Some("(x86-64)"),
        "aarch64" => Some("(aarch-64)"),
        _ => None,
    }
}

/// Name, flags (less 2, greater 4, equal 8) and version.
fn parse_dependency(text: &str) -> (String, u32, String) {
    let parts: Vec<&str> = text.split(' ').collect();
    match parts.as_slice() {
        [name, sign, version] if !name.starts_with('(') => {
            let flags = sign.bytes().map(|byte| match byte {
                b'<' => 2,
                b'>' => 4,
                _ => 8,
            });
            ((*name).into(), flags.sum(), (*version).into())
        }
        _ => (text.into(), 0, String::new()),
    }
}

fn signature(header: &[u8], payload: &[u8], archive_size: usize) -> Header {
    let mut signature = Header::default();
    signature.string(269, &hex(&Sha1::digest(header)));
    signature.string(273, &hex(&Sha256::digest(header)));
    signature.numbers(1000, [word(header.len() + payload.len())]);
    signature.binary(1004, Md5::new().chain_update(header).chain_update(payload).finalize().to_vec());
    signature.numbers(1007, [word(archive_size)]);
    signature
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
