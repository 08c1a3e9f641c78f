"""Prints each requirement of the first repository that no package of any repository provides, as dnf repoclosure asks.

Arguments: architecture, directories of repositories. Lines: package, tab, requirement.
"""
import shutil
import sys
import tempfile

import dnf

arch, *repositories = sys.argv[1:]
work = tempfile.mkdtemp(prefix="tutti-closure-")
try:
    base = dnf.Base()
    base.conf.installroot = work
    base.conf.cachedir = work + "/cache"
    base.conf.persistdir = work + "/persist"
    base.conf.reposdir = []
    base.conf.substitutions["releasever"] = "1"
    base.conf.substitutions["arch"] = arch
    base.conf.substitutions["basearch"] = dnf.rpm.basearch(arch)
    for number, path in enumerate(repositories):
        base.repos.add_new_repo("r%d" % number, base.conf, baseurl=["file://" + path])
    base.fill_sack(load_system_repo=False)
    available = base.sack.query().available().apply()
    satisfied = {}
    for package in available.filter(reponame="r0"):
        if package.arch in ("src", "nosrc"):
            continue
        for requirement in package.requires:
            text = str(requirement)
            if text.startswith(("rpmlib(", "solvable:")):
                continue
            if text not in satisfied:
                satisfied[text] = bool(available.filter(provides=requirement))
            if not satisfied[text]:
                print("%s\t%s" % (package, text))
finally:
    shutil.rmtree(work)
