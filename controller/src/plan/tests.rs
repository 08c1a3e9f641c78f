//! Plans of hand-written and generated specs.

mod fixture;
mod generated;
mod selection;

use std::collections::BTreeSet;

use tutti_job::{Digest, JobKind, JobName, JobSpec, OutputSpec, params};

use super::{At, Edge, Need, Plan, PlanJob, check, close, plan};
use crate::spec::ComposeSpec;
pub(crate) use fixture::{spec, variant};

fn planned(spec: &ComposeSpec) -> Plan {
    plan(spec).unwrap().0
}

fn named<'a>(plan: &'a Plan, name: &str) -> &'a PlanJob {
    let name: JobName = name.parse().unwrap();
    plan.find(&name).unwrap_or_else(|| panic!("no job {name}"))
}

/// `name@C` or `name@P`, with `?` for an edge that may fail, sorted.
fn edges(plan: &Plan, name: &str) -> Vec<String> {
    let text = |edge: &Edge| {
        let at = if edge.at == At::Committed { "C" } else { "P" };
        let need = if edge.need == Need::Required { "" } else { "?" };
        format!("{}@{at}{need}", plan.job(edge.job).unwrap().name)
    };
    let mut list: Vec<String> = named(plan, name).edges.iter().map(text).collect();
    list.sort();
    list
}

fn input_names(job: &PlanJob) -> Vec<&str> {
    let mut names: Vec<&str> = job.fixed_inputs.keys().chain(job.derived_inputs.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn targets(job: &PlanJob) -> Vec<String> {
    job.outputs.iter().map(|output| format!("{} {}", output.name, output.target)).collect()
}

#[test]
fn the_graph_of_a_small_release() {
    let plan = planned(&spec());
    assert_eq!(check(&plan), []);
    assert_eq!(edges(&plan, "solve.Everything.x86_64"), ["pkgset.lookaside-1@C", "pkgset.repos@C"]);
    assert_eq!(edges(&plan, "solve.Everything.aarch64"), ["pkgset.repos@C"]);
    assert_eq!(edges(&plan, "solve.Server-HA.x86_64"), ["pkgset.repos@C", "solve.Server.x86_64@C"]);
    assert_eq!(
        edges(&plan, "solve.Work.x86_64"),
        ["pkgset.repos@C", "solve.Server.aarch64@C", "solve.Server.x86_64@C"],
        "source packages of the lookaside's other arches count"
    );
    assert_eq!(
        edges(&plan, "trim.Server.x86_64"),
        ["pkgset.repos@C", "solve.Server-HA.x86_64@C", "solve.Server-optional.x86_64@C", "solve.Server.x86_64@C"]
    );
    assert_eq!(edges(&plan, "link.Server-HA.x86_64"), ["trim.Server.x86_64@C"]);
    assert_eq!(edges(&plan, "link.Server.src"), ["trim.Server.aarch64@C", "trim.Server.x86_64@C"]);
    assert_eq!(edges(&plan, "createrepo.Server.x86_64"), ["pkgset.repos@C", "trim.Server.x86_64@C"]);
    assert_eq!(
        edges(&plan, "tree-info.Server.x86_64"),
        ["createrepo.Server-HA.x86_64@C", "createrepo.Server.x86_64@C"],
        "an optional variant has a tree of its own"
    );
    assert_eq!(edges(&plan, "tree-info.Server.src"), ["createrepo.Server-HA.src@C", "createrepo.Server.src@C"]);
    assert_eq!(
        edges(&plan, "repoclosure.Server-optional.x86_64"),
        ["createrepo.Server-optional.x86_64@C", "createrepo.Server.x86_64@C", "pkgset.repos@C", "trim.Server.x86_64@C"]
    );
    assert_eq!(edges(&plan, "checksum.Server.x86_64"), ["extra-files.Server.x86_64@P"]);
    assert_eq!(edges(&plan, "extra-files.Server.x86_64"), [""; 0]);
    let expected = JobName::new(JobKind::TreeInfo, "Server-HA", "x86_64");
    assert!(plan.find(&expected).is_none(), "addons are described in their parent's .treeinfo");
}

#[test]
fn inputs_and_targets_are_those_of_the_contract() {
    let plan = planned(&spec());
    let job = |name: &str| named(&plan, name);
    assert_eq!(input_names(job("solve.Everything.x86_64")), ["lookaside-universe/1", "request", "universe/0"]);
    assert_eq!(input_names(job("solve.Server-HA.x86_64")), ["parent", "request", "universe/0"]);
    assert_eq!(
        input_names(job("solve.Work.x86_64")),
        ["lookaside/Server/aarch64", "lookaside/Server/x86_64", "request", "universe/0"]
    );
    assert_eq!(
        input_names(job("trim.Server.x86_64")),
        ["set/0", "solve/Server", "solve/Server-HA", "solve/Server-optional"]
    );
    assert_eq!(input_names(job("createrepo.Server.x86_64")), ["comps", "packages", "records/0"]);
    assert_eq!(input_names(job("createrepo.Server.src")), ["records/0", "source/aarch64", "source/x86_64"]);
    assert_eq!(input_names(job("repoclosure.Everything.x86_64")), ["lookaside-universe/1", "packages", "universe/0"]);
    assert_eq!(input_names(job("tree-info.Server.x86_64")), ["repomd/Server", "repomd/Server-HA"]);
    assert_eq!(
        targets(job("link.Server.x86_64")),
        ["debug-packages compose:Server/x86_64/debug/tree/Packages", "packages compose:Server/x86_64/os/Packages",]
    );
    assert_eq!(
        targets(job("link.Server-HA.x86_64")),
        ["debug-packages compose:Server/x86_64/debug/tree/addons/HA", "packages compose:Server/x86_64/os/addons/HA",]
    );
    assert_eq!(
        targets(job("createrepo.Server-HA.src")),
        ["repodata compose:Server/source/tree/addons/HA/repodata", "repomd "]
    );
    assert_eq!(
        targets(job("createrepo-debug.Server-optional.x86_64")),
        ["repodata compose:Server-optional/x86_64/debug/tree/repodata"]
    );
    assert_eq!(targets(job("checksum.Server.x86_64")), ["extra-files/0 ", "sums/0 compose:Server/x86_64/os"]);
    assert!(input_names(job("metadata")).contains(&"extra-files/Server/x86_64"));
    assert_eq!(targets(job("pkgset.lookaside-1")), ["universe/x86_64 "], "of a lookaside only universes are wanted");
}

/// All jobs that `number` waits for, transitively.
fn ancestors(plan: &Plan, number: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    let mut queue = vec![number];
    while let Some(job) = queue.pop() {
        queue.extend(plan.jobs[job as usize].edges.iter().map(|edge| edge.job).filter(|&edge| all.insert(edge)));
    }
    all
}

#[test]
fn there_is_no_barrier_between_arches_and_variants() {
    let plan = planned(&spec());
    let solves: Vec<u32> = plan.matching("solve.*.aarch64").collect();
    assert!(!solves.is_empty());
    for name in
        ["createrepo.Server.x86_64", "link.Server-HA.x86_64", "repoclosure.Server.x86_64", "tree-info.Server.x86_64"]
    {
        let before = ancestors(&plan, named(&plan, name).number);
        assert!(solves.iter().all(|solve| !before.contains(solve)), "{name} waits for aarch64");
        assert!(plan.matching("solve.Everything").all(|solve| !before.contains(&solve)), "{name} waits for Everything");
    }
}

#[test]
fn metadata_comes_last_and_does_without_what_may_fail() {
    let mut spec = spec();
    let work = spec.variants.iter_mut().find(|variant| variant.uid == "Work").unwrap();
    work.arches.get_mut("x86_64").unwrap().failable = vec!["repo".into()];
    let plan = planned(&spec);
    assert_eq!(check(&plan), []);
    let metadata = named(&plan, "metadata");
    assert_eq!(metadata.number as usize, plan.jobs.len() - 1);
    assert_eq!(metadata.edges.len(), plan.jobs.len() - 1);
    for edge in &metadata.edges {
        let job = plan.job(edge.job).unwrap();
        assert_eq!(edge.need == Need::IfItSucceeds, job.failable, "{}", job.name);
        assert_eq!(edge.at == At::Published, job.has_tree_outputs(), "{}", job.name);
    }
    assert!(named(&plan, "repoclosure.Work.x86_64").failable, "what checks a repository that may be missing may fail");
    assert!(!named(&plan, "createrepo.Server.x86_64").failable);
}

#[test]
fn empty_variants_have_extra_files_but_no_packages() {
    let mut spec = spec();
    let everything = spec.variants.iter_mut().find(|variant| variant.uid == "Everything").unwrap();
    everything.is_empty = true;
    everything.arches.get_mut("x86_64").unwrap().extra_files = vec![fixture::extra_file()];
    let plan = planned(&spec);
    assert_eq!(check(&plan), []);
    let names: Vec<String> =
        plan.matching("*.Everything").map(|job| plan.jobs[job as usize].name.to_string()).collect();
    assert_eq!(names, ["extra-files.Everything.x86_64", "checksum.Everything.x86_64"]);
}

#[test]
fn closing_takes_outputs_and_leaves_out_soft_ones() {
    let mut spec = spec();
    for variant in spec.variants.iter_mut().filter(|variant| variant.uid.starts_with("Server")) {
        variant.arches.get_mut("aarch64").unwrap().failable = vec!["*".into()];
    }
    let plan = planned(&spec);
    let source = named(&plan, "createrepo.Server.src");
    assert!(!source.failable, "x86_64 is required");
    let lost = named(&plan, "trim.Server.aarch64").number;
    let outputs = |job: u32, name: &str| (job != lost).then(|| Digest::of(format!("{job} {name}").as_bytes()));
    let closed = close(source, &outputs).unwrap();
    let names: Vec<&str> = closed.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["records/0", "source/x86_64"]);
    let read = JobSpec::decode_checked(&closed.encode_canonical()).unwrap();
    assert!(!read.params::<params::CreaterepoParams>().unwrap().hashed);
    assert_eq!(
        read.output("repodata").unwrap(),
        &OutputSpec::directory("repodata", &"compose:Server/source/tree/repodata".parse().unwrap())
    );
    let error = close(named(&plan, "createrepo.Server.aarch64"), &outputs).unwrap_err().to_string();
    assert!(error.contains("createrepo.Server.aarch64 needs input \"packages\""), "{error}");
}

#[test]
fn tree_info_of_layered_products_and_addons() {
    let mut spec = spec();
    let mut layered = variant("Server-Layer", "Layer", "layered-product", Some("Server"), &["x86_64"]);
    layered.release = Some(("Layer".into(), "LP".into(), "3.2".into()));
    spec.variants.push(layered);
    let plan = planned(&spec);
    assert_eq!(check(&plan), []);
    let params = |name: &str| serde_json::from_str::<params::TreeInfoParams>(&named(&plan, name).params_json).unwrap();
    let layer = params("tree-info.Server-Layer.x86_64");
    assert_eq!(layer.base_product, Some(("Test".into(), "T".into(), "7".into())));
    assert_eq!((layer.variant.uid.as_str(), layer.variant.kind.as_str()), ("Server", "variant"));
    assert_eq!(layer.description, "Layer 3.2 for Test 7");
    let server = params("tree-info.Server.x86_64");
    assert_eq!((server.variant.repository.as_str(), server.variant.packages.as_str()), (".", "Packages"));
    let [addon] = server.addons.as_slice() else { panic!("{:?}", server.addons) };
    assert_eq!((addon.repository.as_str(), addon.packages.as_str()), ("addons/HA", "addons/HA"));
}

#[test]
fn plans_are_the_same_twice_and_after_json() {
    let (first, second) = (planned(&spec()), planned(&spec()));
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&second).unwrap());
    let read: Plan = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
    assert_eq!(read, first);
    assert_eq!(read.dependents(0), first.dependents(0));
}

#[test]
fn the_checker_finds_what_is_broken() {
    let good = planned(&spec());
    let problems = |change: &dyn Fn(&mut Vec<PlanJob>)| {
        let mut jobs = good.jobs.clone();
        change(&mut jobs);
        check(&Plan::new(jobs)).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let later = Edge { job: 9, at: At::Committed, need: Need::Required };
    let at = |name: &str| named(&good, name).number as usize;
    let (link, createrepo) = (at("link.Server.x86_64"), at("createrepo.Server.x86_64"));
    assert!(problems(&|jobs| jobs[0].edges.push(later)).contains("not before it"));
    assert!(problems(&|jobs| jobs[link].edges.clear()).contains("does not wait for"));
    assert!(problems(&|jobs| jobs[at("trim.Server.x86_64")].outputs.clear()).contains("makes no \"binary/Server\""));
    assert!(
        problems(&|jobs| jobs[link].outputs[1].target = jobs[createrepo].outputs[0].target.clone())
            .contains("belongs to")
    );
    assert!(problems(&|jobs| jobs[link].outputs[1].target = "compose:../etc".into()).contains("unsafe path"));
    assert!(problems(&|jobs| jobs[link].outputs[1].target = "top:STATUS".into()).contains("leaves the tree"));
    assert!(problems(&|jobs| jobs[link].outputs[1].target.push_str("/../x")).contains("unsafe path"));
    let inside = "compose:Server/x86_64/os/Packages/x";
    assert!(problems(&|jobs| jobs[createrepo].outputs[0].target = inside.into()).contains("is inside what"));
    assert!(problems(&|jobs| jobs[link].outputs[1].name = "../x".into()).contains("unsafe path"));
    assert!(problems(&|jobs| jobs[2].name = jobs[3].name.clone()).contains("stands twice"));
    assert!(problems(&|jobs| jobs[2].params_json.clear()).contains("no JSON object"));
    assert!(problems(&|jobs| jobs.swap(0, 1)).contains("at index"));
}

#[test]
fn the_longest_chain_decides() {
    let plan = planned(&spec());
    let remaining = plan.critical_path_remaining();
    for job in &plan.jobs {
        for edge in &job.edges {
            let (before, after) = (remaining[edge.job as usize], remaining[job.number as usize]);
            assert!(before >= after + u64::from(plan.jobs[edge.job as usize].estimate));
        }
    }
}

#[test]
fn trees_are_those_of_the_layout() {
    let xml = r#"<variants>
      <variant id="Server" name="Server" type="variant"><arches><arch>x86_64</arch></arches>
        <variants>
          <variant id="HA" name="HA" type="addon"><arches><arch>x86_64</arch></arches></variant>
          <variant id="optional" name="optional" type="optional"><arches><arch>x86_64</arch></arches></variant>
        </variants></variant></variants>"#;
    let Some(variants) = fixture::parse_variants(xml) else { panic!("variants.xml of the test is not read") };
    let plan = planned(&spec());
    for place in tutti_distro::layout::repositories(&variants) {
        use tutti_distro::layout::Content;
        let (kind, arch) = match place.content {
            Content::Binary => ("createrepo", "x86_64"),
            Content::Debug => ("createrepo-debug", "x86_64"),
            Content::Source => ("createrepo", "src"),
        };
        let job = named(&plan, &format!("{kind}.{}.{arch}", place.variant.uid));
        assert_eq!(job.outputs[0].target, format!("compose:{}/repodata", place.path));
    }
}

#[test]
fn packages_of_remote_repositories_are_linked_when_they_are_published() {
    let mut spec = spec();
    for arch in spec.sources[0].arches.values_mut() {
        arch.repos.push("https://example.com/repo".into());
    }
    let plan = planned(&spec);
    assert_eq!(check(&plan), []);
    let wanted = "downloads top:work/global/download".to_owned();
    assert!(targets(named(&plan, "pkgset.repos")).contains(&wanted));
    assert!(edges(&plan, "link.Server.x86_64").contains(&"pkgset.repos@P".to_owned()));
    assert!(edges(&plan, "solve.Server.x86_64").contains(&"pkgset.repos@C".to_owned()));
}
