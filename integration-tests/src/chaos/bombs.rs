//! X7: XML bombs given to the whole program, as comps, as variants and as a repository's metadata: refused by name, soon.
//! Each parser alone, with its memory and many more documents, is in the tests of its crate (`x7_xml…`).

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::{Sample, histories};
use crate::{compose::Run, scratch::write, sources::Tiny};

/// What was measured, in seconds from the start of `tutti compose` to its end.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// Whole distributions, for comparison.
    pub whole: Sample,
    /// Those that are refused before anything is made.
    pub documents: Sample,
    /// Those that a job meets in a repository.
    pub metadata: Sample,
}

/// A document: what it is called, and what makes it.
type Bomb = (&'static str, fn(&str) -> Box<dyn Read>);

const BOMBS: [Bomb; 6] = [
    ("billion laughs", |root| text(laughs(root))),
    ("quadratic blowup", |root| {
        let entity = "x".repeat(100_000);
        text(format!("<!DOCTYPE {root} [<!ENTITY q '{entity}'>]><{root}>{}</{root}>", "&q;".repeat(100_000)))
    }),
    ("external entity", |root| {
        text(format!("<!DOCTYPE {root} [<!ENTITY e SYSTEM 'file:///dev/zero'>]><{root}>&e;</{root}>"))
    }),
    ("depth of a million", |root| text(format!("<{root}>{}", "<a>".repeat(1_000_000)))),
    ("attribute of 8 MiB", |root| endless(format!("<{root} a='"), 8 << 20)),
    ("text of 8 MiB", |root| endless(format!("<{root}><a>"), 8 << 20)),
];

fn text(text: String) -> Box<dyn Read> {
    Box::new(io::Cursor::new(text))
}

fn endless(head: String, length: u64) -> Box<dyn Read> {
    Box::new(io::Cursor::new(head).chain(io::repeat(b'x').take(length)))
}

fn laughs(root: &str) -> String {
    let mut text = format!("<!DOCTYPE {root} [<!ENTITY l0 'ha'>");
    for level in 1..10 {
        // Writing to a string cannot fail.
        let _ = write!(text, "<!ENTITY l{level} '{}'>", format!("&l{};", level - 1).repeat(10));
    }
    text + &format!("]><{root}>&l9;</{root}>")
}

/// Composes a whole distribution, and then with each bomb in each place.
///
/// # Errors
/// When one is not refused by the name of its file.
pub fn compose(directory: &Path, rounds: usize) -> Result<Refusals> {
    let mut refusals = Refusals::default();
    for round in 0..rounds {
        let whole = directory.join(format!("whole-{round}"));
        let config = Tiny::new(&whole.join("tiny")).write();
        let begin = Instant::now();
        let ended = Run::default().run(&config, &whole.join("composes"));
        ensure!(ended.status == 0, "{}", ended.text());
        refusals.whole.add(begin.elapsed());
        for (name, bomb) in BOMBS {
            for (file, root) in [("comps.xml", "comps"), ("variants.xml", "variants")] {
                let place = directory.join(format!("{round}-{root}-{name}"));
                let config = Tiny::new(&place.join("tiny")).write();
                io::copy(&mut bomb(root), &mut fs::File::create(place.join("tiny").join(file))?)?;
                refusals.documents.add(refused(&config, &place, file, name)?);
            }
            let place = directory.join(format!("{round}-primary-{name}"));
            let config = Tiny::new(&place.join("tiny")).write();
            repository(&place.join("tiny/repo"), bomb("metadata"))?;
            refusals.metadata.add(refused(&config, &place, "primary.xml", name)?);
        }
        let place = directory.join(format!("{round}-primary-long"));
        let config = Tiny::new(&place.join("tiny")).write();
        repository(&place.join("tiny/repo"), endless("<metadata a='".into(), 1 << 30))?;
        refusals.metadata.add(refused(&config, &place, "primary.xml", "attribute of 1 GiB")?);
    }
    histories(directory)?;
    Ok(refusals)
}

fn refused(config: &Path, place: &Path, file: &str, name: &str) -> Result<Duration> {
    let begin = Instant::now();
    let ended = Run::default().run(config, &place.join("composes"));
    let took = begin.elapsed();
    ensure!(ended.status == 1 && ended.text().contains(file), "{name} in {file}: {}", ended.text());
    println!("  {name} in {file}: {:.3} s", took.as_secs_f64());
    Ok(took)
}

/// Metadata beside the packages of a directory, their primary list the bomb.
fn repository(directory: &Path, mut primary: Box<dyn Read>) -> Result<()> {
    let mut records = String::new();
    for (kind, root) in [("primary", "metadata"), ("filelists", "filelists"), ("other", "otherdata")] {
        let href = format!("repodata/{kind}.xml.zst");
        let path = directory.join(&href);
        write(&path, "");
        let mut empty: Box<dyn Read> = text(format!("<{root}/>"));
        let from = if kind == "primary" { &mut primary } else { &mut empty };
        zstd::stream::copy_encode(from, fs::File::create(&path)?, 1).with_context(|| href.clone())?;
        let sum: String = Sha256::digest(fs::read(&path)?).iter().map(|byte| format!("{byte:02x}")).collect();
        records += &format!(
            "<data type=\"{kind}\"><checksum type=\"sha256\">{sum}</checksum><location href=\"{href}\"/></data>"
        );
    }
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">";
    write(&directory.join("repodata/repomd.xml"), format!("{head}{records}</repomd>\n"));
    Ok(())
}
