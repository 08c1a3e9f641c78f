//! [`Comps`] into comps.xml: the same bytes for the same comps, whatever order the source had (pungi 4.3.2
//! `wrappers/comps.py`, libcomps 0.1.19 `comps.rng`).

use super::{Category, Comps, Environment, Group, GroupId, PackageReq, Scope, Text};
use crate::xml::escape_into;

impl Comps {
    /// Writes comps.xml for dnf, libcomps and createrepo_c.
    ///
    /// Groups, environments, packages (by type, then name), group ids, translations and language packs are sorted;
    /// categories keep their order. Repeated packages are written once.
    pub fn to_xml(&self) -> String {
        let mut writer = Writer { out: String::new() };
        writer.out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        writer.out.push_str("<!DOCTYPE comps PUBLIC \"-//Red Hat, Inc.//DTD Comps info//EN\" \"comps.dtd\">\n");
        writer.out.push_str("<comps>\n");
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by(|left, right| left.id.cmp(&right.id));
        for group in groups {
            writer.group(group);
        }
        for category in &self.categories {
            writer.category(category);
        }
        let mut environments: Vec<&Environment> = self.environments.iter().collect();
        environments.sort_by(|left, right| left.id.cmp(&right.id));
        for environment in environments {
            writer.environment(environment);
        }
        writer.langpacks(self);
        writer.out.push_str("</comps>\n");
        writer.out
    }
}

struct Writer {
    out: String,
}

impl Writer {
    fn element(&mut self, indent: usize, name: &str, attributes: &[(&str, &str)], text: &str) {
        for _ in 0..indent {
            self.out.push_str("  ");
        }
        self.out.push('<');
        self.out.push_str(name);
        for (key, value) in attributes {
            self.out.push(' ');
            self.out.push_str(key);
            self.out.push_str("=\"");
            escape_into(&mut self.out, value);
            self.out.push('"');
        }
        if text.is_empty() {
            self.out.push_str("/>\n");
            return;
        }
        self.out.push('>');
        escape_into(&mut self.out, text);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(">\n");
    }

    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// Start tag of a group or environment with its limits.
    fn open(&mut self, name: &str, scope: &Scope) {
        let (arches, variants) = (scope.arches.join(","), scope.variants.join(","));
        self.out.push_str("  <");
        self.out.push_str(name);
        for (key, value) in [("arch", arches), ("variant", variants)] {
            if !value.is_empty() {
                self.out.push_str(&format!(" {key}=\""));
                escape_into(&mut self.out, &value);
                self.out.push('"');
            }
        }
        self.out.push_str(">\n");
    }

    fn boolean(&mut self, name: &str, value: bool) {
        self.element(2, name, &[], if value { "true" } else { "false" });
    }

    fn translated(&mut self, name: &str, text: &Text) {
        self.element(2, name, &[], &text.text);
        for (language, translation) in &text.translations {
            if !translation.is_empty() {
                self.element(2, name, &[("xml:lang", language)], translation);
            }
        }
    }

    /// The beginning that all three kinds share. A description is always written: some readers want the element.
    fn heading(&mut self, id: &str, name: &Text, description: &Text) {
        self.element(2, "id", &[], id);
        self.translated("name", name);
        self.translated("description", description);
    }

    fn display_order(&mut self, order: Option<i32>) {
        if let Some(order) = order {
            self.element(2, "display_order", &[], &order.to_string());
        }
    }

    fn group(&mut self, group: &Group) {
        self.open("group", &group.scope);
        self.heading(&group.id, &group.name, &group.description);
        self.boolean("default", group.default);
        self.boolean("uservisible", group.user_visible);
        if group.biarch_only {
            self.boolean("biarchonly", true);
        }
        if let Some(language) = &group.lang_only {
            self.element(2, "langonly", &[], language);
        }
        self.display_order(group.display_order);
        let mut packages: Vec<&PackageReq> = group.packages.iter().collect();
        packages.sort_by(|left, right| order(left).cmp(&order(right)));
        packages.dedup_by(|left, right| order(left) == order(right));
        if packages.is_empty() {
            self.line("    <packagelist/>");
        } else {
            self.line("    <packagelist>");
            for package in packages {
                self.package(package);
            }
            self.line("    </packagelist>");
        }
        self.line("  </group>");
    }

    fn package(&mut self, package: &PackageReq) {
        let mut attributes = vec![("type", package.kind.as_str())];
        if let Some(requires) = &package.requires {
            attributes.push(("requires", requires));
        }
        if package.basearch_only {
            attributes.push(("basearchonly", "true"));
        }
        let (arches, variants) = (package.scope.arches.join(","), package.scope.variants.join(","));
        scope_attributes(&mut attributes, &arches, &variants);
        self.element(3, "packagereq", &attributes, &package.name);
    }

    fn category(&mut self, category: &Category) {
        self.line("  <category>");
        self.heading(&category.id, &category.name, &category.description);
        self.display_order(category.display_order);
        self.group_ids("grouplist", &category.groups);
        self.line("  </category>");
    }

    fn environment(&mut self, environment: &Environment) {
        self.open("environment", &environment.scope);
        self.heading(&environment.id, &environment.name, &environment.description);
        self.display_order(environment.display_order);
        self.group_ids("grouplist", &environment.groups);
        if !environment.options.is_empty() {
            self.group_ids("optionlist", &environment.options);
        }
        self.line("  </environment>");
    }

    fn group_ids(&mut self, name: &str, groups: &[GroupId]) {
        let mut groups: Vec<&GroupId> = groups.iter().collect();
        groups.sort_by(|left, right| left.id.cmp(&right.id));
        groups.dedup_by(|left, right| left.id == right.id && left.scope == right.scope);
        if groups.is_empty() {
            self.element(2, name, &[], "");
            return;
        }
        self.out.push_str(&format!("    <{name}>\n"));
        for group in groups {
            let mut attributes = Vec::new();
            if group.default {
                attributes.push(("default", "true"));
            }
            let (arches, variants) = (group.scope.arches.join(","), group.scope.variants.join(","));
            scope_attributes(&mut attributes, &arches, &variants);
            self.element(3, "groupid", &attributes, &group.id);
        }
        self.out.push_str(&format!("    </{name}>\n"));
    }

    fn langpacks(&mut self, comps: &Comps) {
        if comps.langpacks.is_empty() {
            return;
        }
        self.line("  <langpacks>");
        for (name, install) in &comps.langpacks {
            self.element(2, "match", &[("install", install), ("name", name)], "");
        }
        self.line("  </langpacks>");
    }
}

/// Order of packages, which also tells which ones are the same.
fn order(package: &PackageReq) -> impl Ord + '_ {
    (
        package.kind,
        &package.name,
        &package.requires,
        package.basearch_only,
        &package.scope.arches,
        &package.scope.variants,
    )
}

fn scope_attributes<'a>(attributes: &mut Vec<(&'a str, &'a str)>, arches: &'a str, variants: &'a str) {
    if !arches.is_empty() {
        attributes.push(("arch", arches));
    }
    if !variants.is_empty() {
        attributes.push(("variant", variants));
    }
}
