# Prints, as one JSON line per path on standard input, what createrepo_c writes about the package.
import json, sys
import xml.etree.ElementTree as tree
import createrepo_c

NAMESPACES = 'xmlns="c" xmlns:rpm="r"'


def element(text):
    text = text.replace("<package ", "<package " + NAMESPACES + " ", 1)
    if text.startswith("<package>"):
        text = text.replace("<package>", "<package " + NAMESPACES + ">", 1)
    return tree.fromstring(text)


def text(node, name):
    found = node.find(name)
    return "" if found is None or found.text is None else found.text


def dependencies(node, name):
    return [dict(entry.attrib) for entry in node.findall("{c}format/{r}%s/{r}entry" % name)]


for line in sys.stdin:
    package = createrepo_c.package_from_rpm(line.rstrip("\n"), createrepo_c.SHA256, "x", None, -1)
    primary, filelists, other = createrepo_c.xml_dump(package)[:3]
    primary, filelists, other = element(primary), element(filelists), element(other)
    form = primary.find("{c}format")
    size = primary.find("{c}size")
    header = form.find("{r}header-range")
    print(json.dumps({
        "name": text(primary, "{c}name"),
        "arch": text(primary, "{c}arch"),
        "version": dict(primary.find("{c}version").attrib),
        "summary": text(primary, "{c}summary"),
        "description": text(primary, "{c}description"),
        "packager": text(primary, "{c}packager"),
        "url": text(primary, "{c}url"),
        "build": int(primary.find("{c}time").get("build")),
        "installed": int(size.get("installed")),
        "archive": int(size.get("archive")),
        "license": text(form, "{r}license"),
        "vendor": text(form, "{r}vendor"),
        "group": text(form, "{r}group"),
        "buildhost": text(form, "{r}buildhost"),
        "sourcerpm": text(form, "{r}sourcerpm"),
        "header": [int(header.get("start")), int(header.get("end"))],
        "dependencies": {name: dependencies(primary, name) for name in (
            "provides", "requires", "conflicts", "obsoletes", "suggests", "enhances", "recommends", "supplements")},
        "files": [[node.text, node.get("type", "")] for node in filelists.findall("{c}file")],
        "changelogs": [[node.get("author"), int(node.get("date")), node.text or ""]
                       for node in other.findall("{c}changelog")],
    }))
