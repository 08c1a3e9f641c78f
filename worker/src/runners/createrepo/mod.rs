//! `createrepo` and `createrepo-debug`: metadata of one repository from package lists and records, never from a tree.
//! What an earlier compose compressed is copied: [`earlier`].

mod earlier;

use std::{fs, os::unix::fs::PermissionsExt as _};

use tutti_job::{Digest, Entry, EntryKind, Manifest, PackageEntry, params::CreaterepoParams};
use tutti_repodata::{
    Checksum, ChecksumType, DatabaseOptions, Extra, ExtraContent, Fill, FragmentOptions, FragmentSource, Fragments,
    MetadataFile, RecordId, RecordsError, RecordsReader, StoredFrame, WriterOptions, write_repository,
};

use tutti_rpm::Package;

use self::earlier::Earlier;
use super::place;
use crate::{Access, FailureClass, JobContext, OrFail as _, Output, RunnerError, log};

/// Output with the metadata.
const REPODATA: &str = "repodata";
/// Output with the bytes of repomd.xml, for jobs that hash it their own way.
const REPOMD: &str = "repomd";
/// Permission bits of metadata files.
const MODE: u32 = 0o644;

/// Fragments from the records of several package sources, numbered by their place in one repository.
struct Combined {
    readers: std::collections::BTreeMap<u32, RecordsReader>,
    places: Vec<(u32, RecordId)>,
    /// Changelog entries to keep, where it is another number than records were made with.
    changelogs: Option<FragmentOptions>,
    earlier: Option<Earlier>,
}

impl FragmentSource for Combined {
    fn render(&self, id: RecordId, file: MetadataFile, fill: &Fill<'_>, out: &mut Vec<u8>) -> Result<(), RecordsError> {
        let missing = || RecordsError::NoRecord { path: "(package list)".into(), id, len: self.places.len() as u32 };
        let (source, record) = self.places.get(id.0 as usize).ok_or_else(missing)?;
        let reader = self.readers.get(source).ok_or_else(missing)?;
        match self.changelogs.filter(|_| file == MetadataFile::Other) {
            None => reader.render(*record, file, fill, out),
            Some(options) => {
                let (_, package) = reader.facts(*record)?;
                Fragments::make(&package, &options)?.other.render(fill, out);
                Ok(())
            }
        }
    }

    fn frame(
        &self,
        file: MetadataFile,
        entries: &[&tutti_repodata::Entry],
        maker: &str,
    ) -> Result<Option<StoredFrame>, RecordsError> {
        let found = self.earlier.as_ref().and_then(|earlier| earlier.frame(file, entries, maker));
        let Some(frame) = found else { return Ok(None) };
        let mut text = Vec::with_capacity(frame.text.len());
        for entry in entries {
            // Whatever is wrong with it is met again by whoever renders it to write it, and told with its name.
            if self.render(entry.record, file, &entry.fill(), &mut text).is_err() {
                return Ok(None);
            }
        }
        Ok((text == frame.text).then_some(frame))
    }

    fn package(&self, id: RecordId, file: MetadataFile) -> Result<Package, RecordsError> {
        let missing = || RecordsError::NoRecord { path: "(package list)".into(), id, len: self.places.len() as u32 };
        let (source, record) = self.places.get(id.0 as usize).ok_or_else(missing)?;
        let reader = self.readers.get(source).ok_or_else(missing)?;
        let Some(options) = self.changelogs.filter(|_| file == MetadataFile::Other) else {
            return reader.package(*record, file);
        };
        let (_, mut package) = reader.facts(*record)?;
        package.changelogs.truncate(options.changelog_limit.unwrap_or(usize::MAX));
        Ok(package)
    }
}

/// What the job reads besides blobs: metadata of an earlier compose.
pub(super) fn access(context: &JobContext) -> Access {
    let earlier = earlier::find(&context.volumes, &context.spec, REPODATA);
    Access { reads: earlier.into_iter().collect(), ..Access::default() }
}

/// Runs the job.
///
/// # Errors
/// Class tool when lists and records do not belong together, input for names that cannot stand in one repository.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let params: CreaterepoParams = context.params()?;
    let mut packages = match context.spec.input("packages") {
        Ok(_) => place::list(context, "packages")?,
        Err(_) => Vec::new(),
    };
    packages.extend(place::lists_below(context, "source/")?);
    let places = place::places(packages, params.hashed)?;
    let total = places.len() as u64;
    context.progress.set("write metadata", 0, total);
    let (mut source, entries) = combine(context, &params, places)?;
    source.earlier = context.access.reads.first().and_then(|repodata| Earlier::open(context, repodata));
    let options = options(context, &params)?;
    let mut extras = Vec::new();
    if context.spec.input("comps").is_ok() {
        extras.push(Extra::group("comps.xml", ExtraContent::Bytes(context.input_bytes("comps")?)));
    }
    let tree = context.output_tree(REPODATA)?;
    let parent = tree.parent().ok_or_else(|| RunnerError::tool("the output has no parent directory"))?;
    // The writer makes the directory itself.
    tutti_files::remove_dir(&tree).or_fail(FailureClass::Tool, || format!("failed to replace {}", tree.display()))?;
    let written = write_repository(parent, &source, &entries, &extras, &options)
        .or_fail(FailureClass::Tool, || "failed to write the repository")?;
    context.cancel.check()?;
    source.earlier.iter().for_each(|earlier| earlier.tell(context));
    log!(context, "{total} packages, {} bytes of metadata, {} packed", written.bytes_in, written.bytes_out);
    context.counters.add("packages", total);
    context.counters.add("metadata_bytes", written.bytes_in);
    context.counters.add("repodata_bytes", written.bytes_out);
    for work in &written.work {
        context.counters.add("compressed_bytes", work.bytes_compressed);
        context.counters.add("copied_bytes", work.bytes_copied);
        context.counters.add("hashed_bytes", work.bytes_hashed);
        // Other files have no frames that could be copied.
        if MetadataFile::ALL.iter().any(|file| file.name() == work.kind) {
            context.counters.add("frames_made", work.frames_made);
            context.counters.add("frames_copied", work.frames_copied);
        }
    }
    let mut files = Vec::new();
    for file in &written.files {
        let path = parent.join(&file.path);
        let failed = || format!("failed to set the mode of {}", path.display());
        fs::set_permissions(&path, fs::Permissions::from_mode(MODE)).or_fail(FailureClass::Tool, failed)?;
        let digest: Digest = file.sha256.parse().or_fail(FailureClass::Tool, failed)?;
        files.push(Entry {
            path: file.path.strip_prefix("repodata/").unwrap_or(&file.path).to_owned(),
            kind: EntryKind::File.into(),
            size: file.size,
            mode: MODE,
            digest: digest.as_bytes().to_vec(),
            ..Entry::default()
        });
    }
    context.progress.set("write metadata", total, total);
    let mut outputs = vec![context.finish_tree(REPODATA, &Manifest::new(files)?)?];
    if context.spec.output(REPOMD).is_ok() {
        let path = tree.join("repomd.xml");
        let bytes = fs::read(&path).or_fail(FailureClass::Tool, || format!("failed to read {}", path.display()))?;
        outputs.push(context.write_file(REPOMD, &bytes)?);
    }
    Ok(outputs)
}

fn combine(
    context: &JobContext,
    params: &CreaterepoParams,
    places: std::collections::BTreeMap<String, PackageEntry>,
) -> Result<(Combined, Vec<tutti_repodata::Entry>), RunnerError> {
    let mut source = Combined {
        readers: std::collections::BTreeMap::new(),
        places: Vec::with_capacity(places.len()),
        changelogs: changelogs(params),
        earlier: None,
    };
    let mut entries = Vec::with_capacity(places.len());
    let prefix = match params.packages_dir.as_str() {
        "" => String::new(),
        directory => format!("{directory}/"),
    };
    for (place, package) in places {
        if let std::collections::btree_map::Entry::Vacant(vacant) = source.readers.entry(package.source) {
            let path = context.input_path(&format!("records/{}", package.source))?;
            let reader = RecordsReader::open(path);
            vacant.insert(reader.or_fail(FailureClass::Infra, || "failed to open the package records")?);
        }
        let number = u32::try_from(source.places.len()).or_fail(FailureClass::Tool, || "too many packages")?;
        source.places.push((package.source, RecordId(package.record)));
        entries.push(tutti_repodata::Entry {
            record: RecordId(number),
            location_href: format!("{prefix}{place}"),
            location_base: None,
            mtime: u64::try_from(package.mtime).unwrap_or(0),
            checksum: checksum(&package)?,
            size: package.size,
        });
    }
    Ok((source, entries))
}

fn checksum(package: &PackageEntry) -> Result<Checksum, RunnerError> {
    let cause = || format!("the package list has a bad checksum for {}", package.path);
    let kind: ChecksumType = package.checksum_type.parse().or_fail(FailureClass::Tool, cause)?;
    Checksum::new(kind, &package.checksum).or_fail(FailureClass::Tool, cause)
}

fn changelogs(params: &CreaterepoParams) -> Option<FragmentOptions> {
    let wanted = FragmentOptions { changelog_limit: usize::try_from(params.changelog_limit).ok() };
    (wanted != FragmentOptions::default()).then_some(wanted)
}

fn options(context: &JobContext, params: &CreaterepoParams) -> Result<WriterOptions, RunnerError> {
    Ok(WriterOptions {
        compression: params.compression.parse().or_fail(FailureClass::Input, || "metadata compression is not known")?,
        layout: params.layout.parse().or_fail(FailureClass::Input, || "the layout of metadata is not known")?,
        checksum_type: params
            .checksum_type
            .parse()
            .or_fail(FailureClass::Input, || "createrepo_checksum is not known")?,
        revision: params.revision.clone(),
        databases: match &params.database {
            None => None,
            Some(name) => Some(DatabaseOptions {
                compression: name
                    .parse()
                    .or_fail(FailureClass::Input, || "the compression of databases is not known")?,
                directory: None,
            }),
        },
        threads: context.threads,
        ..WriterOptions::default()
    })
}

#[cfg(test)]
mod tests;
