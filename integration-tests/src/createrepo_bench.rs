//! `bench createrepo`: one repository made and updated by Tutti and by others, in turn, on the same packages.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use tutti_rpm::HeaderReader;

use crate::{corpus, measure::Cost, program::tutti_path};

/// What is measured.
#[derive(Debug, Args)]
pub struct CreaterepoArgs {
    /// Directory with packages, such as repos/x86_64 of a corpus; a corpus is made if not given
    #[arg(long, value_name = "DIR")]
    packages: Option<PathBuf>,
    /// Sources of the corpus that is made; 0 for all, some 75,000 packages
    #[arg(long, value_name = "N", default_value_t = 2000)]
    sources: u32,
    /// Numbers of packages; 0 for all
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "0")]
    sizes: Vec<usize>,
    /// Percentages of sources that change between a first run and an update
    #[arg(long, value_name = "P,P", value_delimiter = ',', default_value = "0,0.1,1")]
    percents: Vec<f64>,
    /// Threads
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "2")]
    workers: Vec<u32>,
    /// Compressions
    #[arg(long, value_name = "TYPE,TYPE", value_delimiter = ',', default_value = "zstd")]
    compressions: Vec<String>,
    /// Another program with createrepo_c's options; may be given again
    #[arg(long, value_name = "CMD")]
    peer: Vec<String>,
    /// Runs of each case, in turn; the fastest counts
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: u32,
    /// Directory for repositories, on the filesystem of the packages; removed at the end
    #[arg(long, value_name = "DIR")]
    target: Option<PathBuf>,
}

/// Runs a command with its output in a file, and measures it.
pub type Measure<'a> = &'a dyn Fn(&Path, &[String]) -> Result<Cost>;

/// Runs all and prints tables.
///
/// # Errors
/// When the packages cannot be read, a program fails, or the programs disagree.
pub fn run(args: &CreaterepoArgs, measure: Measure<'_>) -> Result<()> {
    let place = match &args.target {
        Some(directory) => {
            fs::create_dir_all(directory)?;
            tempfile::tempdir_in(directory)?
        }
        None => tempfile::tempdir()?,
    };
    let packages = match &args.packages {
        Some(directory) => directory.clone(),
        None => {
            let made = corpus::make(&place.path().join("corpus"), args.sources, "x86_64");
            made.context("cannot make a corpus; --packages names one")?;
            place.path().join("corpus/repos/x86_64")
        }
    };
    let all = packages_below(&packages)?;
    let tools: Vec<Tool> = std::iter::once(tutti_path().display().to_string())
        .chain(args.peer.iter().cloned())
        .enumerate()
        .map(|(number, command)| Tool::new(number, command))
        .collect::<Result<_>>()?;
    println!("{} packages in {}", all.len(), packages.display());
    for tool in &tools {
        println!("{}: {}", tool.name, tool.command);
    }
    for size in &args.sizes {
        let chosen = if *size == 0 { all.as_slice() } else { &all[..all.len().min(*size)] };
        let (place, runs) = (place.path(), args.runs.max(1));
        let bench = Bench { place, tools: &tools, measure, top: &packages, packages: chosen, runs };
        for compression in &args.compressions {
            for workers in &args.workers {
                bench.run(compression, *workers, &args.percents)?;
            }
        }
    }
    Ok(())
}

/// A program that is measured.
struct Tool {
    name: String,
    command: String,
    /// Whether it is not Tutti.
    is_peer: bool,
    /// Whether it can write zstd; createrepo_c 0.17.3 cannot.
    has_zstd: bool,
}

impl Tool {
    fn new(number: usize, command: String) -> Result<Self> {
        let is_peer = number > 0;
        let mut has_zstd = true;
        if is_peer {
            let mut words = command.split_ascii_whitespace();
            let mut help = Command::new(words.next().context("--peer is empty")?);
            let help = help.args(words).arg("--help").output().with_context(|| format!("cannot start {command}"))?;
            // Those that name their compressions and not this one, and those that name none, are too old for it.
            has_zstd = String::from_utf8_lossy(&help.stdout).contains("zstd");
        }
        let name = if is_peer { format!("peer {number}") } else { "tutti".to_owned() };
        Ok(Self { name, command, is_peer, has_zstd })
    }

    /// What it is asked to write where `wanted` is what all are.
    fn compression<'a>(&self, wanted: &'a str) -> &'a str {
        if wanted == "zstd" && !self.has_zstd { "gz" } else { wanted }
    }
}

fn packages_below(top: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "rpm") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

struct Bench<'a> {
    place: &'a Path,
    tools: &'a [Tool],
    measure: Measure<'a>,
    top: &'a Path,
    packages: &'a [PathBuf],
    runs: u32,
}

impl Bench<'_> {
    fn run(&self, compression: &str, workers: u32, percents: &[f64]) -> Result<()> {
        println!("\n## {} packages, {compression}, {workers} workers\n", self.packages.len());
        println!("| case | program | wall s | CPU s | peak MB | read MB | repodata MB | wall | CPU | memory | read |");
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        let tree = self.place.join("tree");
        self.link(&tree, 0.0)?;
        let outs: Vec<PathBuf> = (0..self.tools.len()).map(|tool| self.place.join(format!("out{tool}"))).collect();
        let with = [compression.to_owned(), workers.to_string()];
        self.case("cold", &tree, &|_| Ok(outs.clone()), &with, "")?;
        for percent in percents {
            let changed = self.place.join("changed");
            let count = self.link(&changed, *percent)?;
            let case = format!("{percent} % of sources changed, {count} packages");
            let updated: Vec<PathBuf> = outs.iter().map(|out| out.with_extension("updated")).collect();
            let before = |_: u32| {
                for (from, to) in outs.iter().zip(&updated) {
                    copy(&from.join("repodata"), &to.join("repodata"))?;
                }
                Ok(updated.clone())
            };
            self.case(&case, &changed, &before, &with, "--update")?;
            for directory in updated.iter().chain([&changed]) {
                fs::remove_dir_all(directory)?;
            }
        }
        for directory in outs.iter().chain([&tree]) {
            fs::remove_dir_all(directory)?;
        }
        Ok(())
    }

    /// Runs all programs in turn, as often as asked for. `before` makes the directories that they write to.
    fn case(
        &self,
        case: &str,
        tree: &Path,
        before: &dyn Fn(u32) -> Result<Vec<PathBuf>>,
        with: &[String; 2],
        update: &str,
    ) -> Result<()> {
        let mut best: Vec<Cost> = Vec::new();
        let mut sizes = Vec::new();
        for number in 0..self.runs {
            let outs = before(number)?;
            let mut sums = Vec::new();
            sizes.clear();
            for (tool, out) in outs.iter().enumerate() {
                let cost = self.once(tool, tree, out, with, update)?;
                sums.push(open_sums(out)?);
                sizes.push(size(out)?);
                match best.get_mut(tool) {
                    Some(fastest) if fastest.wall > cost.wall => *fastest = cost,
                    Some(_) => {}
                    None => best.push(cost),
                }
            }
            // Programs as old as those that lack zstd list other files in primary.
            let is_other = |(sums_of, tool): (&Vec<String>, &Tool)| tool.has_zstd && *sums_of != sums[0];
            if sums.iter().zip(self.tools).any(is_other) {
                bail!("{case}: the programs made other metadata: {sums:?}");
            }
        }
        for (tool, (cost, size)) in best.iter().zip(sizes).enumerate() {
            let Tool { name, .. } = &self.tools[tool];
            let name = match self.tools[tool].compression(&with[0]) {
                compression if compression == with[0] => name.clone(),
                other => format!("{name}, {other}"),
            };
            print_row(case, &name, cost, size, best.first().filter(|_| tool > 0));
        }
        Ok(())
    }

    fn once(&self, tool: usize, tree: &Path, out: &Path, with: &[String; 2], update: &str) -> Result<Cost> {
        if update.is_empty() && out.exists() {
            fs::remove_dir_all(out)?;
        }
        fs::create_dir_all(out)?;
        let (tool, [compression, workers]) = (&self.tools[tool], with);
        let compression = tool.compression(compression);
        let mut words: Vec<String> = tool.command.split_ascii_whitespace().map(str::to_owned).collect();
        // createrepo_c 0.17.3 makes databases unless told not to.
        words.push(if tool.is_peer { "--no-database" } else { "createrepo" }.to_owned());
        words.extend(["-q".to_owned(), format!("--general-compress-type={compression}")]);
        words.extend([format!("--workers={workers}"), "-o".to_owned(), out.display().to_string()]);
        words.extend((!update.is_empty()).then(|| update.to_owned()));
        words.push(tree.display().to_string());
        let log = self.place.join("log");
        // What making the trees and the peer's files left to be written is not this program's to wait for.
        rustix::fs::sync();
        let cost = (self.measure)(&log, &words)?;
        if cost.status != 0 {
            bail!("{} ended with {}:\n{}", words.join(" "), cost.status, fs::read_to_string(&log)?);
        }
        Ok(cost)
    }

    /// Makes a tree of links to the packages. Those of some sources, evenly spread, are others: copies of today, with a
    /// longer release in their names. Returns their number.
    fn link(&self, tree: &Path, percent: f64) -> Result<usize> {
        fs::create_dir_all(tree)?;
        let mut sources: BTreeMap<String, Vec<&PathBuf>> = BTreeMap::new();
        let mut reader = HeaderReader::default();
        for path in self.packages {
            let source = if percent > 0.0 { reader.package(path)?.source_rpm } else { None };
            sources.entry(source.unwrap_or_default()).or_default().push(path);
        }
        let wanted = (sources.len() as f64 * percent / 100.0).round() as usize;
        let mut changed = 0;
        for (number, packages) in sources.values().enumerate() {
            // Each time that the share of those before goes up by one.
            let is_changed = (number + 1) * wanted / sources.len() > number * wanted / sources.len();
            for path in packages {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                // Hashed directories, so that no tree has all its files in one; two packages of one name stay apart.
                let first = name.chars().next().map_or_else(String::new, |first| first.to_string());
                let below = path.strip_prefix(self.top).unwrap_or(path).parent().unwrap_or(Path::new(""));
                let directory = tree.join(below).join(first);
                fs::create_dir_all(&directory)?;
                if !is_changed {
                    let link = directory.join(name.as_ref());
                    let linked = fs::hard_link(path, &link);
                    linked.with_context(|| format!("cannot link {} to {}", path.display(), link.display()))?;
                    continue;
                }
                changed += 1;
                let stem = name.trim_end_matches(".rpm");
                let (nevr, arch) = stem.rsplit_once('.').unwrap_or((stem, "noarch"));
                fs::copy(path, directory.join(format!("{nevr}.1.{arch}.rpm")))?;
            }
        }
        Ok(changed)
    }
}

fn print_row(case: &str, name: &str, cost: &Cost, size: u64, own: Option<&Cost>) {
    let cpu = |cost: &Cost| cost.user + cost.system;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    // Processor time is counted in ticks of 10 ms: what took none has no ratio.
    let ratio = |part: &dyn Fn(&Cost) -> f64| match own.map(part) {
        Some(own) if own > 0.0 => format!("{:.2}", part(cost) / own),
        Some(_) => "–".to_owned(),
        None => String::new(),
    };
    println!(
        "| {case} | {name} | {:.2} | {:.2} | {:.0} | {:.1} | {:.2} | {} | {} | {} | {} |",
        cost.wall,
        cpu(cost),
        megabytes(cost.peak_memory),
        megabytes(cost.read),
        megabytes(size),
        ratio(&|cost| cost.wall),
        ratio(&cpu),
        ratio(&|cost| cost.peak_memory as f64),
        ratio(&|cost| cost.read as f64),
    );
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

fn size(out: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(out.join("repodata"))? {
        total += entry?.metadata()?.len();
    }
    Ok(total)
}

/// Checksums of the text of primary, filelists and other.
fn open_sums(out: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(out.join("repodata/repomd.xml"))?;
    let sum = |kind: &str| -> Option<String> {
        let record = text.split(&format!("<data type=\"{kind}\">")).nth(1)?.split("</data>").next()?.to_owned();
        Some(record.split("<open-checksum type=\"sha256\">").nth(1)?.split('<').next()?.to_owned())
    };
    let sums = ["primary", "filelists", "other"].map(sum).into_iter().collect::<Option<_>>();
    sums.with_context(|| format!("{} has no primary, filelists and other", out.display()))
}
