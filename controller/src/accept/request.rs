//! What each solve is asked: groups and packages of a variant and arch, inherited inputs, and solver switches.
//!
//! Rules: pungi 4.3.2 `phases/gather/__init__.py` (`get_variant_packages`), `methods/method_deps.py`.

use std::collections::BTreeMap;

use serde::Deserialize;
use tutti_depsolve::gather::{GatherRequest, Greedy, Group, InputPackage, Langpack, Member, MemberKind, Method};
use tutti_distro::{
    comps::{Chain, Comps, PackageKind},
    config::{GatherMethod, GatherSource, GreedyMethod},
    variants::{GroupSelection, Variant, VariantKind},
};

use super::{Accept, AcceptError, fetch::Text};

/// `{variant uid: {arch: {build: [name.arch]}}}`; the build names do not matter.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Prepopulate(BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<String>>>>);

pub(super) fn prepopulate(file: &Text) -> Result<Prepopulate, AcceptError> {
    serde_json::from_str(&file.text).map_err(|source| AcceptError::Json { file: file.name.clone(), source })
}

impl Prepopulate {
    fn of(&self, uid: &str, arch: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .0
            .get(uid)
            .and_then(|arches| arches.get(arch))
            .into_iter()
            .flat_map(|builds| builds.values().flatten().cloned())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The requests of a variant and arch, one for each gather source; comps is the only source so far.
pub(super) fn build(accept: &Accept<'_>, variant: &Variant, arch: &str) -> Result<Vec<GatherRequest>, AcceptError> {
    let uid = variant.uid.as_str();
    let settings = accept.settings;
    let Some(method) = settings.gather.method.method(uid, GatherSource::Comps) else {
        return Err(AcceptError::Option {
            option: "gather_method",
            message: format!("says nothing of comps for variant {uid}; hint: add (\"^.*$\", {{\"comps\": \"deps\"}})"),
        });
    };
    let mut groups = Vec::new();
    let mut packages = Vec::new();
    for giver in givers(accept, variant) {
        add_groups(accept, giver, arch, &mut groups)?;
        packages.extend(settings.gather.additional_packages.iter(&giver.uid, arch).map(|name| input(name, method)));
    }
    let prepopulate = accept.prepopulate.of(uid, arch);
    if groups.iter().all(|group: &Group| group.members.is_empty()) && packages.is_empty() && prepopulate.is_empty() {
        return Err(AcceptError::Option {
            option: "variants_file",
            message: format!(
                "variant {uid} asks for no packages on {arch}; hint: give it groups that comps_file defines, or additional_packages, or mark it is_empty=\"true\""
            ),
        });
    }
    let (fulltree, selfhosting) = switches(accept, variant);
    let own = accept.comps.get(&(uid.to_owned(), arch.to_owned()));
    Ok(vec![GatherRequest {
        arch: arch.to_owned(),
        method: match method {
            GatherMethod::Deps => Method::Deps,
            GatherMethod::Nodeps => Method::NoDeps,
        },
        groups,
        packages,
        excludes: settings.gather.filter_packages.lists(uid, arch),
        langpacks: own.map(langpacks).unwrap_or_default(),
        greedy: match settings.gather.greedy {
            GreedyMethod::None => Greedy::None,
            GreedyMethod::All => Greedy::All,
            GreedyMethod::Build => Greedy::Build,
        },
        fulltree,
        fulltree_excludes: Vec::new(),
        selfhosting,
        multilib_methods: settings.gather.multilib.iter(uid, arch).map(|method| method.as_str().to_owned()).collect(),
        multilib_whitelist: settings.gather.multilib_whitelist.lists(arch),
        multilib_blacklist: settings.gather.multilib_blacklist.lists(arch),
        prepopulate,
    }])
}

/// Whose inputs a variant has: its own; nested ones also the parent's; optional ones those of all its siblings too.
fn givers<'a>(accept: &'a Accept<'_>, variant: &'a Variant) -> Vec<&'a Variant> {
    let mut givers = vec![variant];
    let Some(parent) = accept.variants.parent(variant) else { return givers };
    givers.push(parent);
    if variant.kind == VariantKind::Optional {
        let siblings = accept.variants.children(&parent.uid);
        givers.extend(siblings.filter(|sibling| sibling.kind != VariantKind::Optional));
    }
    givers
}

fn switches(accept: &Accept<'_>, variant: &Variant) -> (bool, bool) {
    match variant.kind {
        VariantKind::Variant => (accept.settings.gather.fulltree, accept.settings.gather.selfhosting),
        VariantKind::Optional => (true, true),
        VariantKind::Addon | VariantKind::LayeredProduct => (true, false),
    }
}

fn langpacks(comps: &Comps) -> Vec<Langpack> {
    comps.langpacks.iter().map(|(name, install)| Langpack { name: name.clone(), install: install.clone() }).collect()
}

/// `name.arch` is split for `nodeps` only, as Pungi does; `deps` reads the pattern itself.
fn input(name: &str, method: GatherMethod) -> InputPackage {
    let plain = || InputPackage { name: name.to_owned(), arch: None, evr: None };
    match (method, name.rsplit_once('.')) {
        (GatherMethod::Nodeps, Some((base, arch))) if tutti_depsolve::arch::is_known(arch) => {
            InputPackage { name: base.to_owned(), arch: Some(arch.to_owned()), evr: None }
        }
        _ => plain(),
    }
}

fn add_groups(accept: &Accept<'_>, variant: &Variant, arch: &str, groups: &mut Vec<Group>) -> Result<(), AcceptError> {
    let key = |variant: &Variant| (variant.uid.to_string(), arch.to_owned());
    // An addon's parent may lack this arch's comps only if it lacks the arch, and then it gives nothing.
    let Some(own) = accept.comps.get(&key(variant)) else { return Ok(()) };
    let chain_of = accept.variants.comps_chain(variant);
    let mut chain = Chain::new(&variant.uid, arch, own);
    for other in chain_of.iter().skip(1) {
        if let Some(comps) = accept.comps.get(&key(other)) {
            chain.push(&other.uid, comps);
        }
    }
    let ids: Vec<String> = match variant.group_selection() {
        GroupSelection::All => own.groups.iter().map(|group| group.id.clone()).collect(),
        GroupSelection::Listed(listed) => {
            let mut ids = Vec::new();
            for group in listed {
                if group.glob {
                    ids.extend(own.groups.iter().map(|known| known.id.clone()).filter(|id| group.matches(id)));
                } else {
                    ids.push(group.name.clone());
                }
            }
            ids
        }
    };
    for id in ids {
        if groups.iter().any(|group| group.id == id) {
            continue;
        }
        let members = chain.group_packages(&id)?.into_iter().map(member).collect();
        groups.push(Group { id, members });
    }
    Ok(())
}

fn member((name, kind, requires): (&str, PackageKind, Option<&str>)) -> Member {
    let kind = match kind {
        PackageKind::Mandatory => MemberKind::Mandatory,
        PackageKind::Default => MemberKind::Default,
        PackageKind::Optional => MemberKind::Optional,
        PackageKind::Conditional => MemberKind::Conditional { requires: requires.unwrap_or_default().to_owned() },
    };
    Member { name: name.to_owned(), kind }
}
