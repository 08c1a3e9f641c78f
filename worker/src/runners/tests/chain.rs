//! All jobs of a small compose, one after the other, checked with createrepo_c and productmd.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use tutti_depsolve::{
    GatherRequest,
    gather::{InputPackage, Method},
};
use tutti_job::{
    Digest, Input, JobKind, LogicalPath, Manifest, OutputSpec, PackageList, Root,
    params::{
        CreaterepoParams, LinkParams, LinkType, MetadataParams, PkgsetArch, PkgsetParams, RepoclosureParams,
        SolveParams, TreeInfoParams, TreeVariant, TrimParams, TrimVariant,
    },
};

use crate::runners::testing::{Case, Done, shared, spec};

const ARCH: &str = "x86_64";

pub(super) fn pkgset_params(repositories: &[PathBuf]) -> PkgsetParams {
    let repos = repositories.iter().map(|path| path.display().to_string()).collect();
    PkgsetParams {
        arches: BTreeMap::from([(ARCH.to_owned(), PkgsetArch { repos, multilib: true })]),
        sigkeys: vec![None],
        checksum_type: "sha256".into(),
        exclusive_arch_considers_noarch: true,
        inherit_exclusive_arch_to_noarch: true,
        lookaside: false,
    }
}

pub(super) fn pkgset_outputs() -> Vec<OutputSpec> {
    ["records", "set/x86_64", "universe/x86_64"].map(OutputSpec::file).to_vec()
}

fn compose(path: &str) -> LogicalPath {
    LogicalPath::new(Root::Compose, path).unwrap()
}

fn input(name: &str, done: &Done, output: &str) -> Input {
    Input::new(name, done.outputs[output])
}

/// Runs jobs of one compose of the variants `Server` (a part, with its dependencies) and `Server-HA` (an addon).
struct Chain {
    case: Case,
    pkgset: Done,
}

impl Chain {
    fn new(repositories: &[PathBuf]) -> Self {
        let case = Case::new();
        let params = pkgset_params(repositories);
        let pkgset = case.run(spec(JobKind::Pkgset, &params, vec![], pkgset_outputs())).unwrap();
        Self { case, pkgset }
    }

    fn solve(&self, uid: &str, kind: &str, request: &GatherRequest, parent: Option<&Done>) -> Done {
        let params = SolveParams {
            variant: uid.into(),
            variant_kind: kind.into(),
            arch: ARCH.into(),
            filter_system_release: true,
            check_deps: false,
            require_all: false,
        };
        let request = self.case.blob(&serde_json::to_vec(&[request]).unwrap());
        let mut inputs = vec![Input::new("request", request), input("universe/0", &self.pkgset, "universe/x86_64")];
        inputs.extend(parent.map(|parent| input("parent", parent, "result")));
        self.case.run(spec(JobKind::Solve, &params, inputs, vec![OutputSpec::file("result")])).unwrap()
    }

    fn trim(&self, server: &Done, addon: &Done) -> Done {
        let variant = |uid: &str, kind: &str, parent: &str| TrimVariant {
            uid: uid.into(),
            kind: kind.into(),
            parent: parent.into(),
        };
        let params =
            TrimParams { variants: vec![variant("Server", "variant", ""), variant("Server-HA", "addon", "Server")] };
        let inputs = vec![
            input("set/0", &self.pkgset, "set/x86_64"),
            input("solve/Server", server, "result"),
            input("solve/Server-HA", addon, "result"),
        ];
        let outputs = ["Server", "Server-HA"]
            .iter()
            .flat_map(|uid| ["binary", "debug", "source"].map(|what| OutputSpec::file(format!("{what}/{uid}"))));
        self.case.run(spec(JobKind::Trim, &params, inputs, outputs.collect())).unwrap()
    }

    /// Places packages of one variant: (binary, debug, source) directories.
    fn link(&self, trim: &Done, uid: &str, outputs: Vec<OutputSpec>) -> Done {
        let params = LinkParams { link_type: LinkType::HardlinkOrCopy, hashed: true };
        let inputs = match outputs.len() {
            1 => vec![input("source/x86_64", trim, &format!("source/{uid}"))],
            _ => vec![input("binary", trim, &format!("binary/{uid}")), input("debug", trim, &format!("debug/{uid}"))],
        };
        self.case.run(spec(JobKind::Link, &params, inputs, outputs)).unwrap()
    }

    fn createrepo(&self, name: &str, list: Digest, packages_dir: &str, target: &str) -> Done {
        let params = CreaterepoParams {
            checksum_type: "sha256".into(),
            compression: "zstd".into(),
            layout: "frames".into(),
            packages_dir: packages_dir.into(),
            hashed: true,
            revision: None,
            changelog_limit: if name == "packages" { 10 } else { 3 },
            database: None,
        };
        let comps = self.case.blob(b"<?xml version=\"1.0\"?><comps/>");
        let inputs =
            vec![Input::new(name, list), Input::new("comps", comps), input("records/0", &self.pkgset, "records")];
        let outputs = vec![OutputSpec::directory("repodata", &compose(target)), OutputSpec::file("repomd")];
        self.case.run(spec(JobKind::Createrepo, &params, inputs, outputs)).unwrap()
    }

    fn tree_info(&self, server: &Done, addon: &Done) -> Done {
        let variant = |id: &str, uid: &str, kind: &str, packages: &str, repository: &str| TreeVariant {
            id: id.into(),
            uid: uid.into(),
            name: uid.into(),
            kind: kind.into(),
            packages: packages.into(),
            repository: repository.into(),
            other_paths: BTreeMap::new(),
        };
        let params = TreeInfoParams {
            release_name: "Dist".into(),
            release_short: "D".into(),
            release_version: "1.2".into(),
            base_product: None,
            arch: ARCH.into(),
            timestamp: 1_700_000_000,
            description: "Dist 1.2".into(),
            checksum_type: "sha512".into(),
            variant: variant("Server", "Server", "variant", "Packages", "."),
            addons: vec![variant("HA", "Server-HA", "addon", "addons/HA", "addons/HA")],
        };
        let inputs = vec![input("repomd/Server", server, "repomd"), input("repomd/Server-HA", addon, "repomd")];
        let outputs = vec![OutputSpec::merge("files", &compose("Server/x86_64/os"))];
        self.case.run(spec(JobKind::TreeInfo, &params, inputs, outputs)).unwrap()
    }

    fn metadata(&self, trim: &Done) -> Done {
        let variant = |uid: &str, id: &str, kind: &str, parent: Option<&str>| {
            json!({ "uid": uid, "id": id, "name": uid, "type": kind, "parent": parent, "release": null,
                    "is_empty": false, "arches": [ARCH] })
        };
        let compose_json = json!({
            "identity": {
                "compose_id": "D-1.2-20261123.n.0", "id_prefix": "D-1.2-20261123.n.", "compose_type": "nightly",
                "date": "20261123", "respin": 0, "label": null, "supported": false, "release_name": "Dist",
                "release_short": "D", "release_version": "1.2", "release_type": "ga", "release_internal": false,
                "base_product": null, "latest_link": null, "latest_link_status": [],
            },
            "variants": [variant("Server", "Server", "variant", None), variant("Server-HA", "HA", "addon", Some("Server"))],
        });
        let params = MetadataParams { compose: compose_json, hashed: true };
        let inputs = ["Server", "Server-HA"].iter().flat_map(|uid| {
            ["binary", "debug", "source"]
                .map(|what| input(&format!("{what}/{uid}/{ARCH}"), trim, &format!("{what}/{uid}")))
        });
        let list = |file: &str| {
            let json = json!({ "header": { "version": "1.0" },
                               "data": [{ "file": file, "size": 3, "checksums": { "sha256": "0".repeat(64) } }] });
            self.case.blob(json.to_string().as_bytes())
        };
        let lists = [("Server-HA", ARCH, "GPL"), ("Server", "src", "docs/a"), ("Server", ARCH, "EULA")];
        let lists = lists.map(|(uid, arch, file)| Input::new(format!("extra-files/{uid}/{arch}"), list(file)));
        let inputs = inputs.chain(lists);
        let outputs = vec![OutputSpec::merge("metadata", &compose("metadata"))];
        self.case.run(spec(JobKind::Metadata, &params, inputs.collect(), outputs)).unwrap()
    }

    fn closure(&self, trim: &Done, fatal: bool) -> Result<Done, crate::RunnerError> {
        let params = RepoclosureParams { variant: "Server-HA".into(), arch: ARCH.into(), fatal };
        let inputs = vec![
            input("packages", trim, "binary/Server-HA"),
            input("lookaside/Server", trim, "binary/Server"),
            input("universe/0", &self.pkgset, "universe/x86_64"),
        ];
        self.case.run(spec(JobKind::Repoclosure, &params, inputs, vec![OutputSpec::file("report")]))
    }

    fn packages(&self, digest: &Digest) -> Vec<String> {
        let list = PackageList::decode_checked(&self.case.read(digest)).unwrap();
        list.packages.iter().map(|package| package.file_name()).collect()
    }
}

fn request(names: &[&str], method: Method) -> GatherRequest {
    let packages = names.iter().map(|name| InputPackage::from(*name)).collect();
    GatherRequest { arch: ARCH.into(), method, packages, ..GatherRequest::default() }
}

/// Copies real packages into a bare repository, so that they can be hard-linked.
fn repository(directory: &Path, shared: &Path) -> PathBuf {
    let from = shared.join("rpms/packages/pulp+pulp-fixtures");
    let to = directory.join("repository");
    let mut pending = vec![from];
    while let Some(path) = pending.pop() {
        for item in std::fs::read_dir(path).unwrap() {
            let item = item.unwrap();
            if item.file_type().unwrap().is_dir() {
                pending.push(item.path());
                continue;
            }
            let target = to.join(item.file_name());
            // The same package stands in several of the fixtures; a name of another encoding is of no use here.
            let name = item.file_name().into_string().unwrap_or_default();
            let wanted = name.ends_with(".rpm") && !name.contains("module_") && !name.contains("utf-8");
            if wanted && !target.exists() {
                std::fs::create_dir_all(&to).unwrap();
                std::fs::copy(item.path(), target).unwrap();
            }
        }
    }
    to
}

fn python(script: &str, arguments: &[&Path]) {
    let output = Command::new("python3").arg("-c").arg(script).args(arguments).output();
    let Ok(output) = output else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "python3 is missing");
        println!("skipped: no python3");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("ModuleNotFoundError") && std::env::var("CI").as_deref() != Ok("true") {
        println!("skipped: {said}");
        return;
    }
    assert!(output.status.success(), "{said}");
}

const CHECK_REPOSITORY: &str = r#"
import os, sys
import createrepo_c as cr
for root in sys.argv[1:]:
    repomd = cr.Repomd(os.path.join(root, "repodata/repomd.xml"))
    paths = {record.type: os.path.join(root, record.location_href) for record in repomd.records}
    assert {"primary", "filelists", "other", "group"} <= set(paths), paths
    warnings = []
    reader = cr.PackageIterator(paths["primary"], paths["filelists"], paths["other"],
        warningcb=lambda kind, text: warnings.append(text) or True)
    found = set()
    for package in reader:
        path = os.path.join(root, package.location_href)
        assert os.path.getsize(path) == package.size_package, path
        assert int(os.path.getmtime(path)) == package.time_file, path
        real = cr.package_from_rpm(path, checksum_type=cr.SHA256)
        assert real.pkgId == package.pkgId, path
        assert real.nevra() == package.nevra(), path
        found.add(os.path.realpath(path))
    assert not warnings, warnings
    placed = {os.path.realpath(os.path.join(d, f)) for d, _, files in os.walk(root) for f in files if f.endswith(".rpm")}
    placed = {p for p in placed if root.endswith("HA") or "/addons/" not in p}
    assert found == placed, (root, found ^ placed)
"#;

const CHECK_METADATA: &str = r#"
import sys
import productmd
from productmd.treeinfo import TreeInfo
top = sys.argv[1]
compose = productmd.Compose(top)
compose.info.validate()
assert sorted(v.uid for v in compose.info.get_variants(recursive=True)) == ["Server", "Server-HA"]
compose.rpms.validate(); compose.images.validate(); compose.modules.validate()
import json, os
for variant, arches in compose.rpms.rpms.items():
    for arch, sources in arches.items():
        for source, packages in sources.items():
            for nevra, entry in packages.items():
                path = os.path.join(top, "compose", entry["path"])
                assert os.path.isfile(path), path
info = compose.info["Server"]
assert info.paths.os_tree["x86_64"] == "Server/x86_64/os"
tree = TreeInfo()
tree.load(os.path.join(top, "compose/Server/x86_64/os/.treeinfo"))
tree.validate()
import hashlib
for path, (kind, digest) in tree.checksums.checksums.items():
    data = open(os.path.join(top, "compose/Server/x86_64/os", path), "rb").read()
    assert kind == "sha512", kind
    assert hashlib.new(kind, data).hexdigest() == digest, path
assert len(tree.checksums.checksums) == 2
from productmd.extra_files import ExtraFiles
extra = ExtraFiles()
extra.load(os.path.join(top, "compose/metadata/extra_files.json"))
extra.validate()
found = {(v, a): [e["file"] for e in files] for v, arches in extra.extra_files.items() for a, files in arches.items()}
assert found == {
    ("Server", "src"): ["Server/source/tree/docs/a"],
    ("Server", "x86_64"): ["Server/x86_64/os/EULA"],
    ("Server-HA", "x86_64"): ["Server/x86_64/os/addons/HA/GPL"],
}, found
"#;

#[test]
fn a_small_compose_is_what_other_tools_accept() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let repository = repository(directory.path(), &shared);
    let chain = Chain::new(std::slice::from_ref(&repository));
    assert!(chain.pkgset.counters["rpm_files"] > 30, "{:?}", chain.pkgset.counters);
    assert_eq!(chain.pkgset.counters["rpm_read_bytes"], chain.pkgset.counters["rpm_hash_bytes"]);

    let server = chain.solve("Server", "variant", &request(&["walrus", "whale", "duck"], Method::Deps), None);
    let addon =
        chain.solve("Server-HA", "addon", &request(&["walrus", "wolf", "zebra"], Method::NoDeps), Some(&server));
    let trim = chain.trim(&server, &addon);
    let in_server = chain.packages(&trim.outputs["binary/Server"]);
    let in_addon = chain.packages(&trim.outputs["binary/Server-HA"]);
    assert!(in_server.contains(&"walrus-5.21-1.noarch.rpm".to_owned()), "{in_server:?}");
    assert!(in_addon.iter().any(|name| name.starts_with("wolf-")), "{in_addon:?}");
    assert!(!in_addon.iter().any(|name| in_server.contains(name)), "{in_addon:?} {in_server:?}");

    let directory = |name: &str, path: &str| OutputSpec::directory(name, &compose(path));
    let merged = |name: &str, path: &str| OutputSpec::merge(name, &compose(path));
    let placed = vec![
        directory("packages", "Server/x86_64/os/Packages"),
        directory("debug-packages", "Server/x86_64/debug/tree/Packages"),
    ];
    let linked = chain.link(&trim, "Server", placed);
    let manifest = Manifest::decode_checked(&chain.case.read(&linked.outputs["packages"])).unwrap();
    assert_eq!(manifest.entries.len(), in_server.len());
    let addon_placed = vec![
        merged("packages", "Server/x86_64/os/addons/HA"),
        merged("debug-packages", "Server/x86_64/debug/tree/addons/HA"),
    ];
    chain.link(&trim, "Server-HA", addon_placed);
    chain.link(&trim, "Server", vec![directory("packages", "Server/source/tree/Packages")]);
    let top = chain.case.top();
    let os = top.join("compose/Server/x86_64/os");
    let walrus = os.join("Packages/w/walrus-5.21-1.noarch.rpm");
    let original = std::fs::metadata(repository.join("walrus-5.21-1.noarch.rpm")).unwrap();
    assert_eq!(std::fs::metadata(&walrus).unwrap().mtime(), original.mtime());

    let repodata = |name: &str, what: &str, dir: &str, target: &str| {
        chain.createrepo(name, trim.outputs[what], dir, &format!("{target}/repodata"))
    };
    let binary = repodata("packages", "binary/Server", "Packages", "Server/x86_64/os");
    let addon_repo = repodata("packages", "binary/Server-HA", "", "Server/x86_64/os/addons/HA");
    repodata("source/x86_64", "source/Server", "Packages", "Server/source/tree");
    python(CHECK_REPOSITORY, &[&os, &os.join("addons/HA"), &top.join("compose/Server/source/tree")]);

    chain.tree_info(&binary, &addon_repo);
    let lenient = chain.closure(&trim, false).unwrap();
    let report = String::from_utf8(chain.case.read(&lenient.outputs["report"])).unwrap();
    assert_eq!(report.is_empty(), lenient.warnings.is_empty(), "{report}");
    if !report.is_empty() {
        let error = chain.closure(&trim, true).err().unwrap();
        assert!(error.class == crate::FailureClass::Input && error.hint.is_some(), "{error:?}");
    }
    chain.metadata(&trim);
    python(CHECK_METADATA, &[&top]);
}

#[test]
fn the_same_packages_give_the_same_bytes() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let repository = repository(directory.path(), &shared);
    let [one, two] = [(); 2].map(|()| Chain::new(std::slice::from_ref(&repository)).pkgset.outputs);
    assert_eq!(one, two);
}
