use std::collections::BTreeSet;

use proptest::prelude::*;
use tutti_rpm::{Dependency, Evr, FileEntry, FileKind, Package};

use super::*;
use crate::{PackageRef, Universe, UniverseBuilder, repoclosure, why};

fn packages() -> impl Strategy<Value = Vec<Package>> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e-devel", "f", "a-debuginfo", "b-debugsource"]);
    let arch = prop::sample::select(vec!["x86_64", "x86_64", "i686", "noarch", "src"]);
    let text = prop::sample::select(vec![
        "a",
        "b >= 2",
        "c = 1-1",
        "d < 3",
        "f",
        "/usr/bin/a",
        "(a or b)",
        "(c with cap)",
        "(d if a else f)",
        "cap",
        "none",
        "cap >= 2",
        "(f without cap)",
    ]);
    let provide = prop::sample::select(vec!["cap", "cap = 1", "cap = 2-1", "a", "other"]);
    let source = prop::sample::select(vec!["a-1-1", "b-1-1", "d-2-1"]);
    let one = (name, 1..4_u32, arch, prop::collection::vec(text, 0..4), prop::collection::vec(provide, 0..2), source);
    prop::collection::vec(one, 1..20).prop_map(|all| {
        let mut seen = BTreeSet::new();
        let mut packages = Vec::new();
        for (name, version, arch, requires, provides, source) in all {
            if !seen.insert((name, version, arch)) {
                continue;
            }
            packages.push(Package {
                name: name.to_owned(),
                evr: Evr::parse(&format!("{version}-1")),
                arch: arch.to_owned(),
                source_rpm: (arch != "src").then(|| format!("{source}.src.rpm")),
                requires: requires.iter().map(|text| Dependency::parse(text).unwrap()).collect(),
                provides: provides.iter().map(|text| Dependency::parse(text).unwrap()).collect(),
                files: vec![FileEntry { path: format!("/usr/bin/{name}"), kind: FileKind::File }],
                ..Package::default()
            });
        }
        packages
    })
}

fn request() -> impl Strategy<Value = GatherRequest> {
    let greedy = prop::sample::select(vec![Greedy::None, Greedy::All, Greedy::Build]);
    let methods = prop::sample::select(vec!["none", "all", "runtime", "devel"]);
    let inputs = prop::sample::subsequence(vec!["a", "b*", "c.+", "*", "a-debuginfo", "d.x86_64"], 1..4);
    (greedy, any::<bool>(), any::<bool>(), methods, inputs).prop_map(
        |(greedy, fulltree, selfhosting, method, inputs)| GatherRequest {
            arch: "x86_64".to_owned(),
            packages: inputs.into_iter().map(InputPackage::from).collect(),
            greedy,
            fulltree,
            selfhosting,
            multilib_methods: vec![method.to_owned()],
            ..GatherRequest::default()
        },
    )
}

fn universe(packages: &[Package], order: &[usize]) -> Universe {
    let mut builder = UniverseBuilder::new("x86_64");
    for at in order {
        builder.add(&packages[*at], *at as u32);
    }
    Universe::open(builder.finish().unwrap()).unwrap()
}

fn forward(packages: &[Package]) -> Vec<usize> {
    (0..packages.len()).collect()
}

proptest! {
    /// What is selected is closed, apart from what is reported; and what is reported is really unsatisfied.
    #[test]
    fn results_are_closed(packages in packages(), request in request()) {
        let universe = universe(&packages, &forward(&packages));
        let sources = [Source::own(&universe)];
        let result = gather(&request, &sources, &|| false).unwrap();
        let refs = |list: &[Selected]| list.iter().map(|selected| selected.package).collect::<Vec<_>>();
        let binary = refs(&result.binary);
        let broken: BTreeSet<_> = repoclosure(&binary, &refs(&result.debug), &sources).unwrap()
            .into_iter().map(|broken| (broken.nevra, broken.requirement)).collect();
        let reported: BTreeSet<_> =
            result.unresolved.iter().map(|entry| (entry.nevra.clone(), entry.requirement.clone())).collect();
        prop_assert!(broken.is_subset(&reported), "{broken:?} not in {reported:?}");
        for selected in result.all() {
            let chain = why::why(&result, selected.package, &sources);
            let last = chain.last().unwrap();
            prop_assert!(last.cause.by.is_none() && last.cause.rule == Rule::Input);
        }
    }

    /// The order of packages, and asking twice, change nothing but the places that packages are referred by.
    #[test]
    fn order_of_packages_does_not_matter(packages in packages(), request in request()) {
        let (forward, backward) = (forward(&packages), forward(&packages).into_iter().rev().collect::<Vec<_>>());
        let (one, other) = (universe(&packages, &forward), universe(&packages, &backward));
        let first = gather(&request, &[Source::own(&one)], &|| false).unwrap();
        prop_assert_eq!(&first, &gather(&request, &[Source::own(&one)], &|| false).unwrap());
        prop_assert_eq!(&first, &gather(&request, &[Source::own(&other)], &|| false).unwrap());
    }

    /// The same packages again, as a second source, change nothing; as a lookaside they leave nothing to deliver.
    #[test]
    fn copies_add_nothing(packages in packages(), request in request()) {
        let universe = universe(&packages, &forward(&packages));
        let single = gather(&request, &[Source::own(&universe)], &|| false).unwrap();
        let double = gather(&request, &[Source::own(&universe), Source::own(&universe)], &|| false).unwrap();
        prop_assert_eq!(single, double);
        let sources = [Source::own(&universe), Source::lookaside(&universe)];
        let lookaside = gather(&request, &sources, &|| false).unwrap();
        prop_assert!(lookaside.all().all(|selected| !selected.is_delivered()));
        prop_assert!(lookaside.unresolved.is_empty());
    }
}

#[test]
fn refuses_bad_requests() {
    let universe = universe(&[], &[]);
    let sources = [Source::own(&universe)];
    let base = GatherRequest { arch: "x86_64".to_owned(), ..GatherRequest::default() };
    let error = |request: GatherRequest| gather(&request, &sources, &|| false).unwrap_err();
    assert_eq!(error(base.clone()), Error::NoInput);
    let asked = GatherRequest { packages: vec!["a".into()], ..base };
    let method = GatherRequest { multilib_methods: vec!["kernel".to_owned()], ..asked.clone() };
    assert_eq!(error(method), Error::MultilibMethod("kernel".to_owned()));
    let prepopulate = GatherRequest { prepopulate: vec!["noarch".to_owned()], ..asked };
    assert_eq!(error(prepopulate), Error::Prepopulate("noarch".to_owned()));
}

#[test]
fn stops_when_told() {
    let packages: Vec<Package> = (0..600)
        .map(|at| Package { name: format!("p{at}"), arch: "noarch".to_owned(), ..Package::default() })
        .collect();
    let universe = universe(&packages, &forward(&packages));
    let request = GatherRequest { arch: "x86_64".into(), packages: vec!["*".into()], ..GatherRequest::default() };
    assert_eq!(gather(&request, &[Source::own(&universe)], &|| true).unwrap_err(), Error::Cancelled);
}

#[test]
fn a_chain_ends_at_an_input() {
    let require = |name: &str, requires: &str| Package {
        name: name.to_owned(),
        arch: "noarch".to_owned(),
        requires: vec![Dependency::any(requires)],
        ..Package::default()
    };
    let universe = universe(&[require("a", "b"), require("b", "c"), require("c", "a")], &[0, 1, 2]);
    let sources = [Source::own(&universe)];
    let request = GatherRequest { arch: "x86_64".into(), packages: vec!["a".into()], ..GatherRequest::default() };
    let result = gather(&request, &sources, &|| false).unwrap();
    let chain = why::why(&result, PackageRef::new(0, 2), &sources);
    let texts: Vec<_> =
        chain.iter().map(|step| (step.cause.rule, step.cause.requirement.as_deref().unwrap())).collect();
    assert_eq!(texts, [(Rule::Requires, "c"), (Rule::Requires, "b"), (Rule::Input, "a")]);
    assert!(why::why(&result, PackageRef::new(7, 7), &sources).is_empty());
}
