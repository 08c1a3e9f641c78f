//! The databases of a repository, made after its XML files, whose checksums they hold.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{CHUNK, Content, Context, Job, Made, WriterError, WriterOptions, at_once, publish};
use crate::compression::Compression;
use crate::fragment::MetadataFile;
use crate::sqlite::{Database, VERSION};
use crate::writer::output::Output;

/// SQLite databases of `primary`, `filelists` and `other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// Compression; bzip2 is createrepo_c's default.
    pub compression: Compression,
    /// Directory where they are made before they are compressed; `repodata/` itself if `None`.
    pub directory: Option<PathBuf>,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self { compression: Compression::Bzip2, directory: None }
    }
}

/// The files to make.
pub(super) fn jobs<'a>(databases: &DatabaseOptions, options: &WriterOptions) -> Vec<Job<'a>> {
    let job = |file: MetadataFile| Job {
        kind: format!("{}_db", file.name()),
        name: format!("{}.sqlite", file.name()),
        compression: databases.compression,
        content: Content::Database(file),
    };
    options.files().map(job).collect()
}

/// Makes them, several at once; `made` has the XML files.
pub(super) fn make(context: &Context<'_>, jobs: &[Job<'_>], made: &[Made]) -> Result<Vec<Made>, WriterError> {
    at_once(context.options.threads, &jobs.iter().collect::<Vec<_>>(), |job| {
        let Content::Database(file) = job.content else { return Ok(None) };
        let xml = made.iter().find(|made| made.record.kind == file.name());
        xml.map(|xml| database(context, job, file, xml)).transpose()
    })
    .map(|made| made.into_iter().flatten().collect())
}

/// A file that is gone when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = tutti_files::remove_file(&self.0);
    }
}

fn database(context: &Context<'_>, job: &Job<'_>, file: MetadataFile, xml: &Made) -> Result<Made, WriterError> {
    let options = context.options.databases.as_ref();
    let directory = options.and_then(|options| options.directory.as_deref()).unwrap_or(context.repodata);
    let scratch = Scratch(directory.join(format!(".{}.{}.partial", job.name, std::process::id())));
    fill_database(context, file, &scratch.0, xml)?;
    let path = context.partial(job);
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| WriterError::Io { action, path, source }
    };
    let mut output = Output::create(&path, job.compression, context.options).map_err(io("create", &path))?;
    let mut input = File::open(&scratch.0).map_err(io("read", &scratch.0))?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match input.read(&mut buffer).map_err(io("read", &scratch.0))? {
            0 => break,
            length => output.write_all(&buffer[..length]).map_err(io("write", &path))?,
        }
    }
    let mut totals = output.finish(context.timestamp).map_err(io("write", &path))?;
    totals.work.kind.clone_from(&job.kind);
    let mut made = publish(context, job, totals)?;
    made.record.database_version = Some(VERSION);
    Ok(made)
}

fn fill_database(context: &Context<'_>, file: MetadataFile, path: &Path, xml: &Made) -> Result<(), WriterError> {
    let failed = |source| WriterError::Database { path: path.to_owned(), source };
    let database = Database::create(path, file).map_err(failed)?;
    for entry in context.order {
        let package = context
            .source
            .package(entry.record, file)
            .map_err(|source| WriterError::Records { href: entry.location_href.clone(), source })?;
        database.add(&package, &entry.fill()).map_err(failed)?;
    }
    database.finish(&xml.record.checksum).map_err(failed)
}
