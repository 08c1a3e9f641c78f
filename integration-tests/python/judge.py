#!/usr/bin/env python3
"""Reads a compose with other people's libraries and prints what they found, as one JSON object.

judge.py repodata DIRECTORY...   createrepo_c: every package of each repository; what it warned of
judge.py productmd COMPOSE       productmd: loads and validates the compose's metadata and tree files
"""

import hashlib
import json
import os
import sys
import tempfile

# Above this many packages in one repository only every 16th file is hashed; sizes are compared for all.
HASH_ALL = 2000


def repodata(paths):
    import createrepo_c

    answer = {"version": createrepo_c.VERSION, "repositories": {}}
    for path in paths:
        answer["repositories"][path] = one_repository(createrepo_c, path)
    return answer


def one_repository(createrepo_c, path):
    warnings, problems, packages = [], [], []

    def warned(kind, message):
        warnings.append("%s: %s" % (kind, message))
        return True

    repomd = createrepo_c.Repomd()
    createrepo_c.xml_parse_repomd(os.path.join(path, "repodata/repomd.xml"), repomd, warned)
    records = {record.type: record for record in repomd.records}
    for record in repomd.records:
        name = os.path.join(path, record.location_href)
        with open(name, "rb") as file:
            data = file.read()
        if hashlib.new(record.checksum_type, data).hexdigest() != record.checksum or len(data) != record.size:
            problems.append("%s is not what repomd.xml says" % record.location_href)
    found = {}

    def parse(kind, function, **more):
        seen = []
        function(os.path.join(path, records[kind].location_href), None,
                 lambda package: seen.append(package) or True, warned, **more)
        found[kind] = seen

    parse("primary", createrepo_c.xml_parse_primary, do_files=True)
    parse("filelists", createrepo_c.xml_parse_filelists)
    parse("other", createrepo_c.xml_parse_other)
    ids = {kind: sorted(package.pkgId for package in seen) for kind, seen in found.items()}
    if ids["primary"] != ids["filelists"] or ids["primary"] != ids["other"]:
        problems.append("primary, filelists and other list different packages")
    # The way users read it, all three files side by side.
    together = sum(1 for _ in createrepo_c.PackageIterator(
        records_path(path, records["primary"]), records_path(path, records["filelists"]),
        records_path(path, records["other"]), warningcb=warned))
    if together != len(found["primary"]):
        problems.append("PackageIterator finds %d of %d packages" % (together, len(found["primary"])))
    for number, package in enumerate(found["primary"]):
        check_file(path, package, number, len(found["primary"]), problems)
        packages.append({"nevra": package.nevra(), "location": package.location_href, "id": package.pkgId,
                         "source": package.rpm_sourcerpm})
    return {"warnings": warnings, "problems": problems, "packages": packages, "records": sorted(records)}


def records_path(path, record):
    return os.path.join(path, record.location_href)


def check_file(path, package, number, count, problems):
    name = os.path.normpath(os.path.join(path, package.location_href))
    if not os.path.isfile(name):
        problems.append("%s is missing" % package.location_href)
        return
    stat = os.stat(name)
    if stat.st_size != package.size_package or int(stat.st_mtime) != package.time_file:
        problems.append("%s has another size or time" % package.location_href)
    if count <= HASH_ALL or number % 16 == 0:
        with open(name, "rb") as file:
            if hashlib.new(package.checksum_type, file.read()).hexdigest() != package.pkgId:
                problems.append("%s has another checksum" % package.location_href)


def productmd(path):
    import productmd
    from productmd.treeinfo import TreeInfo

    compose = productmd.compose.Compose(os.path.join(path, "compose"))
    answer = {"problems": [], "variants": {}, "trees": {}, "rpms": 0}
    problems = answer["problems"]
    for name in ("info", "rpms", "images", "modules"):
        document = getattr(compose, name)
        document.validate()
        # What it writes must be readable again.
        with tempfile.NamedTemporaryFile("w") as file:
            document.dump(file.name)
            type(document)().load(file.name)
    info = compose.info
    answer["compose"] = {"id": info.compose.id, "type": info.compose.type, "date": info.compose.date,
                         "respin": info.compose.respin, "short": info.release.short, "version": info.release.version}
    for uid, variant in sorted(info.get_variants(recursive=True) and
                               ((v.uid, v) for v in info.get_variants(recursive=True))):
        paths = {}
        for field in variant.paths._fields:
            for arch, value in sorted(getattr(variant.paths, field).items()):
                paths.setdefault(field, {})[arch] = value
                if not os.path.exists(os.path.join(path, "compose", value)):
                    problems.append("composeinfo: %s %s %s: %s does not exist" % (uid, arch, field, value))
        answer["variants"][uid] = {"type": variant.type, "arches": sorted(variant.arches), "paths": paths}
    for variant, arches in compose.rpms.rpms.items():
        for arch, sources in arches.items():
            for source, packages in sources.items():
                for nevra, entry in packages.items():
                    answer["rpms"] += 1
                    if not os.path.isfile(os.path.join(path, "compose", entry["path"])):
                        problems.append("rpms.json: %s is missing" % entry["path"])
    for directory, _, names in sorted(os.walk(os.path.join(path, "compose"))):
        if ".treeinfo" in names:
            tree = TreeInfo()
            tree.load(os.path.join(directory, ".treeinfo"))
            tree.validate()
            name = os.path.relpath(directory, os.path.join(path, "compose"))
            answer["trees"][name] = {"arch": tree.tree.arch, "variants": sorted(tree.variants.variants),
                                     "checksums": sorted(tree.checksums.checksums)}
            for file, (kind, digest) in tree.checksums.checksums.items():
                with open(os.path.join(directory, file), "rb") as data:
                    if hashlib.new(kind, data.read()).hexdigest() != digest:
                        problems.append("%s/.treeinfo: checksum of %s" % (name, file))
    return answer


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    answer = repodata(arguments) if command == "repodata" else productmd(arguments[0])
    json.dump(answer, sys.stdout)


main()
