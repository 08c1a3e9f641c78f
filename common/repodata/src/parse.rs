//! The three metadata files, one package at a time.
//!
//! Unknown elements and attributes are skipped. What createrepo_c writes as an empty element (no URL, no vendor) is
//! absent in [`Package`]; epoch `0` is no epoch.

use std::borrow::Cow;
use std::io::Read;

use tutti_rpm::{Changelog, Dependency, Evr, FileEntry, FileKind, Package, Sense};

use crate::checksum::{Checksum, ChecksumType};
use crate::fragment::MetadataFile;
use crate::location;
use crate::reader::{RepoPackage, RepositoryError};
use crate::writer;
use crate::xml::{Element, Xml, XmlReader};

/// Largest text of one package in one file, in bytes: the largest file lists known are some 50 MB.
const MAX_PACKAGE: u64 = 128 * 1024 * 1024;

/// Most entries of one list of one package: what an RPM header can hold (rpm 4.20 `lib/header.c`, HEADER_ARRAY_MAX).
const MAX_LIST: usize = 0x000f_ffff;

/// A parser's state for one kind of file.
pub(crate) trait ListState: Default {
    /// What one `<package>` gives.
    type Item;
    /// Name of the root element.
    const ROOT: &'static str;

    /// A start tag inside of `<package>`, or the one of it: depth 2 is `<package>` itself.
    fn start(&mut self, depth: usize, element: &Element<'_>) -> Result<(), String>;
    /// Text.
    fn text(&mut self, text: &str);
    /// An end tag below `<package>`.
    fn end(&mut self, depth: usize) -> Result<(), String>;
    /// The end of `<package>`.
    fn finish(&mut self) -> Result<Self::Item, String>;
    /// The package, for messages.
    fn label(&self) -> String;
    /// Forgets a package, but not how it is to be read.
    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// A file with a list of packages.
pub(crate) struct ListReader<R: Read, S: ListState> {
    xml: XmlReader<R>,
    state: S,
    started: u64,
    seen_root: bool,
    in_package: bool,
}

impl<R: Read, S: ListState> ListReader<R, S> {
    pub(crate) fn new(file: &str, input: R) -> Self {
        Self { xml: XmlReader::new(file, input), state: S::default(), started: 0, seen_root: false, in_package: false }
    }

    /// Reads the next package; `None` at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<S::Item>, RepositoryError> {
        loop {
            if self.seen_root && self.xml.position().saturating_sub(self.started) > MAX_PACKAGE {
                return Err(self.refuse("its metadata is larger than 128 MiB".into()));
            }
            let result = match self.xml.next()? {
                (1, Xml::Start(element)) if self.seen_root || element.name() != S::ROOT => {
                    Err(format!("<{}> stands where <{}> was expected", element.name(), S::ROOT))
                }
                (1, Xml::Start(_)) => {
                    self.seen_root = true;
                    Ok(())
                }
                (2, Xml::Start(element)) => {
                    self.state.reset();
                    self.in_package = element.name() == "package";
                    if self.in_package { self.state.start(2, &element) } else { Ok(()) }
                }
                (depth, Xml::Start(element)) if self.in_package => self.state.start(depth, &element),
                (depth, Xml::Text(text)) if depth > 2 && self.in_package => {
                    self.state.text(&text);
                    Ok(())
                }
                (2, Xml::End) if self.in_package => {
                    self.in_package = false;
                    match self.state.finish() {
                        Ok(item) => {
                            self.started = self.xml.position();
                            return Ok(Some(item));
                        }
                        Err(what) => Err(what),
                    }
                }
                (depth, Xml::End) if depth > 2 && self.in_package => self.state.end(depth),
                (_, Xml::Eof) if !self.seen_root => Err(format!("there is no <{}>", S::ROOT)),
                (_, Xml::Eof) => return Ok(None),
                _ => Ok(()),
            };
            result.map_err(|what| self.refuse(what))?;
        }
    }

    fn refuse(&self, what: String) -> RepositoryError {
        match self.state.label() {
            label if label.is_empty() => self.xml.invalid(what),
            label => self.xml.invalid(format!("package {label}: {what}")),
        }
    }

    pub(crate) fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    pub(crate) fn into_input(self) -> R {
        self.xml.into_input()
    }
}

/// Reads what a file says of one package, from that package's text alone; the rest is empty.
pub(crate) fn one_package(file: MetadataFile, text: &[u8]) -> Result<Option<Package>, RepositoryError> {
    let (head, tail) = (writer::head(file, 1), writer::tail(file));
    let input = head.as_slice().chain(text).chain(tail.as_slice());
    Ok(match file {
        MetadataFile::Primary => {
            let mut reader = ListReader::<_, Primary>::new(file.name(), input);
            reader.state_mut().any_location = true;
            reader.next()?.map(|package| package.package)
        }
        MetadataFile::Filelists | MetadataFile::FilelistsExt => {
            let found = ListReader::<_, Filelists>::new(file.name(), input).next()?;
            found.map(|(_, files)| Package { files, ..Package::default() })
        }
        MetadataFile::Other => {
            let found = ListReader::<_, Other>::new(file.name(), input).next()?;
            found.map(|(_, changelogs)| Package { changelogs, ..Package::default() })
        }
    })
}

/// Text elements of `primary` that are kept.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Field {
    #[default]
    None,
    Name,
    Arch,
    Checksum,
    Summary,
    Description,
    Packager,
    Url,
    License,
    Vendor,
    Group,
    BuildHost,
    SourceRpm,
    File(FileKind),
}

/// State of `primary`.
#[derive(Default)]
pub(crate) struct Primary {
    package: Package,
    field: Field,
    text: String,
    in_format: bool,
    list: Option<List>,
    checksum_type: Option<ChecksumType>,
    checksum: Option<Checksum>,
    href: Option<String>,
    base: Option<String>,
    mtime: u64,
    size: u64,
    /// See [`crate::ReadOptions::any_location`].
    pub(crate) any_location: bool,
}

#[derive(Clone, Copy)]
enum List {
    Provides,
    Requires,
    Conflicts,
    Obsoletes,
    Recommends,
    Suggests,
    Supplements,
    Enhances,
}

impl ListState for Primary {
    type Item = RepoPackage;
    const ROOT: &'static str = "metadata";

    fn start(&mut self, depth: usize, element: &Element<'_>) -> Result<(), String> {
        self.text.clear();
        self.field = Field::None;
        match depth {
            2 => self.start_package(element),
            3 => self.start_item(element),
            4 if self.in_format => self.start_format_item(element),
            5 if self.list.is_some() && element.name() == "entry" => self.start_entry(element),
            _ => Ok(()),
        }
    }

    fn text(&mut self, text: &str) {
        if self.field != Field::None {
            self.text.push_str(text);
        }
    }

    fn end(&mut self, depth: usize) -> Result<(), String> {
        if depth == 3 {
            self.in_format = false;
        }
        if depth == 4 {
            self.list = None;
        }
        let text = std::mem::take(&mut self.text);
        let package = &mut self.package;
        let optional = |text: String| (!text.is_empty()).then_some(text);
        match std::mem::take(&mut self.field) {
            Field::None => {}
            Field::Name => package.name = text,
            Field::Arch => package.arch = text,
            Field::Checksum => {
                let kind = self.checksum_type.ok_or("its checksum has no type")?;
                self.checksum = Some(Checksum::new(kind, text.trim()).map_err(|error| error.to_string())?);
            }
            Field::Summary => package.summary = text,
            Field::Description => package.description = text,
            Field::Packager => package.packager = optional(text),
            Field::Url => package.url = optional(text),
            Field::License => package.license = optional(text),
            Field::Vendor => package.vendor = optional(text),
            Field::Group => package.group = optional(text),
            Field::BuildHost => package.build_host = optional(text),
            Field::SourceRpm => package.source_rpm = optional(text),
            Field::File(kind) => push_file(&mut package.files, text, kind)?,
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<RepoPackage, String> {
        let any_location = self.any_location;
        let state = std::mem::replace(self, Self { any_location, ..Self::default() });
        // The state is gone, so the messages name the package themselves.
        let label = label_of(&state.package.name, &state.href);
        let missing = |what: &str| format!("package {label}: it has no {what}");
        if state.package.name.is_empty() || state.package.arch.is_empty() {
            return Err(missing("name or architecture"));
        }
        Ok(RepoPackage {
            location_href: state.href.ok_or_else(|| missing("location"))?,
            location_base: state.base,
            size: state.size,
            mtime: state.mtime,
            checksum: state.checksum.ok_or_else(|| missing("checksum"))?,
            package: state.package,
        })
    }

    fn label(&self) -> String {
        label_of(&self.package.name, &self.href)
    }

    fn reset(&mut self) {
        *self = Self { any_location: self.any_location, ..Self::default() };
    }
}

fn label_of(name: &str, href: &Option<String>) -> String {
    let text = href.as_deref().filter(|href| !href.is_empty()).unwrap_or(name);
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

impl Primary {
    fn start_package(&mut self, element: &Element<'_>) -> Result<(), String> {
        let mut kind = String::from("rpm");
        element.attributes(|name, value| {
            if name == "type" {
                kind = value.into_owned();
            }
        })?;
        if kind == "rpm" { Ok(()) } else { Err(format!("a package has the unknown type {kind:?}")) }
    }

    fn start_item(&mut self, element: &Element<'_>) -> Result<(), String> {
        self.in_format = element.name() == "format";
        match element.name() {
            "name" => self.field = Field::Name,
            "arch" => self.field = Field::Arch,
            "summary" => self.field = Field::Summary,
            "description" => self.field = Field::Description,
            "packager" => self.field = Field::Packager,
            "url" => self.field = Field::Url,
            "version" => self.package.evr = evr(element)?,
            "checksum" => {
                self.field = Field::Checksum;
                self.checksum_type = Some(parsed(element, "type", |text| text.parse().ok())?);
            }
            "time" => {
                let [file, build] = numbers(element, ["file", "build"])?;
                (self.mtime, self.package.build_time) = (file, build);
            }
            "size" => {
                let [package, installed, archive] = numbers(element, ["package", "installed", "archive"])?;
                self.size = package;
                (self.package.installed_size, self.package.archive_size) = (installed, archive);
            }
            "location" => self.location(element)?,
            _ => {}
        }
        Ok(())
    }

    fn location(&mut self, element: &Element<'_>) -> Result<(), String> {
        let (mut href, mut base) = (None, None);
        element.attributes(|name, value| match name {
            "href" => href = Some(value.into_owned()),
            "base" => base = Some(value.into_owned()),
            _ => {}
        })?;
        let href = href.ok_or("its location has no href")?;
        let check = if self.any_location { location::check_text } else { location::check };
        check(&href)
            .map_err(|error| format!("the package {} has the location {href:?}, which {error}", self.package.name))?;
        if let Some(base) = base.as_deref().filter(|base| !base.is_empty()) {
            location::check_base(base).map_err(|error| format!("its base {error}"))?;
        }
        self.href = Some(href);
        self.base = base.filter(|base| !base.is_empty());
        Ok(())
    }

    fn start_format_item(&mut self, element: &Element<'_>) -> Result<(), String> {
        match element.name() {
            "license" => self.field = Field::License,
            "vendor" => self.field = Field::Vendor,
            "group" => self.field = Field::Group,
            "buildhost" => self.field = Field::BuildHost,
            "sourcerpm" => self.field = Field::SourceRpm,
            "file" => self.field = Field::File(file_kind(element)?),
            "header-range" => {
                let [start, end] = numbers(element, ["start", "end"])?;
                (self.package.header_start, self.package.header_end) = (start, end);
            }
            name => self.list = list(name),
        }
        Ok(())
    }

    fn start_entry(&mut self, element: &Element<'_>) -> Result<(), String> {
        let dependency = dependency(element)?;
        let package = &mut self.package;
        let list = match self.list {
            Some(List::Provides) => &mut package.provides,
            Some(List::Requires) => &mut package.requires,
            Some(List::Conflicts) => &mut package.conflicts,
            Some(List::Obsoletes) => &mut package.obsoletes,
            Some(List::Recommends) => &mut package.recommends,
            Some(List::Suggests) => &mut package.suggests,
            Some(List::Supplements) => &mut package.supplements,
            Some(List::Enhances) => &mut package.enhances,
            None => return Ok(()),
        };
        has_room(list)?;
        list.push(dependency);
        Ok(())
    }
}

fn list(name: &str) -> Option<List> {
    Some(match name {
        "provides" => List::Provides,
        "requires" => List::Requires,
        "conflicts" => List::Conflicts,
        "obsoletes" => List::Obsoletes,
        "recommends" => List::Recommends,
        "suggests" => List::Suggests,
        "supplements" => List::Supplements,
        "enhances" => List::Enhances,
        _ => return None,
    })
}

/// State of `filelists`: the package's id and its files.
#[derive(Default)]
pub(crate) struct Filelists {
    id: String,
    name: String,
    files: Vec<FileEntry>,
    kind: Option<FileKind>,
    text: String,
}

impl ListState for Filelists {
    type Item = (String, Vec<FileEntry>);
    const ROOT: &'static str = "filelists";

    fn start(&mut self, depth: usize, element: &Element<'_>) -> Result<(), String> {
        self.text.clear();
        self.kind = None;
        match (depth, element.name()) {
            (2, _) => (self.id, self.name) = id_and_name(element)?,
            (3, "file") => self.kind = Some(file_kind(element)?),
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if self.kind.is_some() {
            self.text.push_str(text);
        }
    }

    fn end(&mut self, _depth: usize) -> Result<(), String> {
        if let Some(kind) = self.kind.take() {
            push_file(&mut self.files, std::mem::take(&mut self.text), kind)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Self::Item, String> {
        Ok((std::mem::take(&mut self.id), std::mem::take(&mut self.files)))
    }

    fn label(&self) -> String {
        label_of(&self.name, &None)
    }
}

/// State of `other`: the package's id and its changelog, newest entry first.
#[derive(Default)]
pub(crate) struct Other {
    id: String,
    name: String,
    changelogs: Vec<Changelog>,
    entry: Option<Changelog>,
}

impl ListState for Other {
    type Item = (String, Vec<Changelog>);
    const ROOT: &'static str = "otherdata";

    fn start(&mut self, depth: usize, element: &Element<'_>) -> Result<(), String> {
        self.entry = None;
        match (depth, element.name()) {
            (2, _) => (self.id, self.name) = id_and_name(element)?,
            (3, "changelog") => {
                let (mut author, mut time) = (String::new(), String::new());
                element.attributes(|name, value| match name {
                    "author" => author = value.into_owned(),
                    "date" => time = value.into_owned(),
                    _ => {}
                })?;
                self.entry = Some(Changelog { author, time: number("date", &time)?, text: String::new() });
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some(entry) = &mut self.entry {
            entry.text.push_str(text);
        }
    }

    fn end(&mut self, _depth: usize) -> Result<(), String> {
        has_room(&self.changelogs)?;
        self.changelogs.extend(self.entry.take());
        Ok(())
    }

    fn finish(&mut self) -> Result<Self::Item, String> {
        let mut changelogs = std::mem::take(&mut self.changelogs);
        changelogs.reverse();
        Ok((std::mem::take(&mut self.id), changelogs))
    }

    fn label(&self) -> String {
        label_of(&self.name, &None)
    }
}

fn id_and_name(element: &Element<'_>) -> Result<(String, String), String> {
    let (mut id, mut package) = (String::new(), String::new());
    element.attributes(|name, value| match name {
        "pkgid" => id = value.to_ascii_lowercase(),
        "name" => package = value.into_owned(),
        _ => {}
    })?;
    if id.is_empty() { Err(format!("package {package:?} has no pkgid")) } else { Ok((id, package)) }
}

fn has_room<T>(list: &[T]) -> Result<(), String> {
    if list.len() < MAX_LIST { Ok(()) } else { Err(format!("a list has more than {MAX_LIST} entries")) }
}

fn push_file(files: &mut Vec<FileEntry>, path: String, kind: FileKind) -> Result<(), String> {
    // createrepo_c writes no file without a name; an empty one says nothing.
    if path.is_empty() {
        return Ok(());
    }
    has_room(files)?;
    files.push(FileEntry { path, kind });
    Ok(())
}

fn file_kind(element: &Element<'_>) -> Result<FileKind, String> {
    let mut kind = FileKind::File;
    element.attributes(|name, value| {
        if name == "type" {
            kind = match value.as_ref() {
                "dir" => FileKind::Directory,
                "ghost" => FileKind::Ghost,
                _ => FileKind::File,
            };
        }
    })?;
    Ok(kind)
}

fn parsed<T>(element: &Element<'_>, wanted: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
    let mut text = String::new();
    element.attributes(|name, value| {
        if name == wanted {
            text = value.into_owned();
        }
    })?;
    parse(&text).ok_or_else(|| format!("<{} {wanted}={text:?}> is not usable", element.name()))
}

/// Reads numbers; an absent or empty attribute counts as 0, as old repositories have them.
fn numbers<const N: usize>(element: &Element<'_>, names: [&str; N]) -> Result<[u64; N], String> {
    let mut found: [Result<u64, String>; N] = std::array::from_fn(|_| Ok(0));
    element.attributes(|name, value| {
        if let Some(at) = names.iter().position(|wanted| *wanted == name) {
            found[at] = number(name, &value);
        }
    })?;
    let mut values = [0; N];
    for (value, result) in values.iter_mut().zip(found) {
        *value = result?;
    }
    Ok(values)
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    match text.trim() {
        "" => Ok(0),
        digits => digits.parse().map_err(|_| format!("{name}={text:?} is not a number")),
    }
}

fn epoch(text: &str) -> Result<Option<u32>, String> {
    match text.trim() {
        "" => Ok(None),
        digits => match digits.parse() {
            Ok(0) => Ok(None),
            Ok(epoch) => Ok(Some(epoch)),
            Err(_) => Err(format!("epoch={text:?} is not a number")),
        },
    }
}

fn evr(element: &Element<'_>) -> Result<Evr, String> {
    let mut evr = Evr::default();
    let mut epoch_text = String::new();
    element.attributes(|name, value| match name {
        "epoch" => epoch_text = value.into_owned(),
        "ver" => evr.version = value.into_owned(),
        "rel" => evr.release = value.into_owned(),
        _ => {}
    })?;
    evr.epoch = epoch(&epoch_text)?;
    Ok(evr)
}

fn dependency(element: &Element<'_>) -> Result<Dependency, String> {
    let mut dependency = Dependency::default();
    let mut flags = String::new();
    let mut take = |name: &str, value: Cow<'_, str>| match name {
        "name" => dependency.name = value.into_owned(),
        "flags" => flags = value.into_owned(),
        "pre" => dependency.pre = matches!(value.as_ref(), "1" | "true"),
        _ => {}
    };
    element.attributes(&mut take)?;
    if dependency.name.is_empty() {
        return Err("a dependency has no name".into());
    }
    if !flags.is_empty() {
        let sense = Sense::from_repodata(&flags)
            .ok_or_else(|| format!("dependency {} has flags={flags:?}", dependency.name))?;
        dependency.range = Some((sense, evr(element)?));
    }
    Ok(dependency)
}

#[cfg(test)]
mod tests;
