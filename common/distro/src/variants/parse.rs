//! variants.xml into [`Variants`]: structure by pungi 4.3.2 `share/variants.dtd`, meaning by `wrappers/variants.py`.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    EnvironmentRef, Filter, GroupRef, LayeredRelease, ModuleRef, Modules, Variant, VariantKind, VariantUid, Variants,
    is_tree_arch,
};
use crate::xml::{self, Element};

/// Entries of all variants together after templates are expanded: a short file could ask for very many.
const MAX_ENTRIES: usize = 1_000_000;

/// What is wrong with a variants file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}{}", hint.map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct Error {
    /// File name as given by the caller.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl Variants {
    /// Reads a variants file.
    ///
    /// Variants without an architecture in `filter` are left out in silence, like those that `filter` does not name.
    ///
    /// # Errors
    /// If the text is no XML, does not follow the format, or names unknown templates, repeated ids or impossible
    /// architectures. The error names file and line.
    pub fn parse(text: &str, file: &str, filter: &Filter) -> Result<Self, Error> {
        let root = xml::parse(text).map_err(|error| Error {
            file: file.to_owned(),
            line: error.line,
            message: error.message,
            hint: None,
        })?;
        let mut parser = Parser {
            file,
            filter,
            templates: BTreeMap::new(),
            found: Vec::new(),
            uids: BTreeMap::new(),
            warnings: Vec::new(),
            entries: 0,
        };
        parser.document(&root)?;
        parser.finish(&root)
    }
}

/// What one element may contain.
struct Shape {
    attributes: &'static [&'static str],
    children: &'static [&'static str],
    has_text: bool,
}

/// The DTD as data. Order and number of children are looser than in the DTD: nothing depends on them.
fn shape(name: &str) -> Option<Shape> {
    let shape = |attributes, children, has_text| Some(Shape { attributes, children, has_text });
    match name {
        "variants" => shape(&[], &["ref", "variant"], false),
        "ref" => shape(&["id"], &[], false),
        "variant" => shape(
            &["id", "name", "type", "has_optional", "is_empty"],
            &["release", "arches", "groups", "environments", "variants", "buildinstallpackages", "modules"],
            false,
        ),
        "release" => shape(&["name", "short", "version"], &[], false),
        "arches" => shape(&[], &["arch"], false),
        "groups" => shape(&[], &["group"], false),
        "group" => shape(&["glob", "default", "uservisible"], &[], true),
        "environments" => shape(&[], &["environment"], false),
        "environment" => shape(&["display_order"], &[], true),
        "buildinstallpackages" => shape(&[], &["package"], false),
        "modules" => shape(&[], &["module", "kojitag"], false),
        "module" => shape(&["glob"], &[], true),
        "arch" | "package" | "kojitag" => shape(&[], &[], true),
        _ => None,
    }
}

struct Parser<'a> {
    file: &'a str,
    filter: &'a Filter,
    /// Top-level addons and layered products, by id.
    templates: BTreeMap<&'a str, &'a Element>,
    found: Vec<Variant>,
    /// Line of each uid seen, left-out variants included.
    uids: BTreeMap<VariantUid, u32>,
    warnings: Vec<String>,
    /// Groups, environments, modules and packages kept so far.
    entries: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, element: &Element, message: impl Into<String>, hint: Option<&'static str>) -> Error {
        Error { file: self.file.to_owned(), line: element.line, message: message.into(), hint }
    }

    fn warn(&mut self, element: &Element, message: &str) {
        self.warnings.push(format!("{}:{}: {message}", self.file, element.line));
    }

    fn document(&mut self, root: &'a Element) -> Result<(), Error> {
        if root.name != "variants" {
            let message = format!("root element is <{}>, expected <variants>", root.name);
            return Err(self.error(root, message, None));
        }
        self.check(root)?;
        for element in root.children("variant") {
            let id = self.required(element, "id")?;
            match self.kind(element)? {
                VariantKind::Variant => {}
                VariantKind::Addon | VariantKind::LayeredProduct => {
                    if self.templates.insert(id, element).is_some() {
                        return Err(self.error(element, format!("template '{id}' stands twice"), None));
                    }
                }
                VariantKind::Optional => {
                    let hint = "put it into the <variants> of its parent, or set has_optional=\"true\" there";
                    let message = format!("variant '{id}' of type optional stands at top level");
                    return Err(self.error(element, message, Some(hint)));
                }
            }
        }
        for element in root.children("ref") {
            self.warn(element, "<ref> outside of a variant has no effect");
        }
        for element in root.children("variant") {
            if self.kind(element)? == VariantKind::Variant {
                self.variant(element, element, None)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, root: &Element) -> Result<Variants, Error> {
        let wanted: BTreeSet<&str> = self.filter.tree_variants.iter().map(String::as_str).collect();
        for name in wanted {
            if !self.uids.contains_key(name) {
                self.warnings.push(format!("tree_variants names '{name}', which {} does not have", self.file));
            }
        }
        if self.uids.is_empty() {
            let hint = "a file needs at least one <variant type=\"variant\">";
            return Err(self.error(root, "no variant is defined", Some(hint)));
        }
        self.found.sort_by(|left, right| (left.kind.rank(), &left.uid).cmp(&(right.kind.rank(), &right.uid)));
        Ok(Variants { variants: self.found, warnings: self.warnings })
    }

    /// Checks names of elements and attributes, and text, of everything below `element`. Depth is bounded by the reader.
    fn check(&self, element: &Element) -> Result<(), Error> {
        let Some(shape) = shape(&element.name) else {
            return Err(self.error(element, format!("unknown element <{}>", element.name), None));
        };
        for (name, _) in &element.attributes {
            if !shape.attributes.contains(&name.as_str()) {
                let message = format!("<{}> has unknown attribute '{name}'", element.name);
                return Err(self.error(element, message, None));
            }
        }
        if shape.has_text {
            self.check_text(element)?;
        } else if !element.text.trim().is_empty() {
            return Err(self.error(element, format!("<{}> contains text", element.name), None));
        }
        for child in &element.children {
            if !shape.children.contains(&child.name.as_str()) {
                let message = format!("<{}> is not allowed in <{}>", child.name, element.name);
                return Err(self.error(child, message, None));
            }
            let repeatable = matches!(element.name.as_str(), "variants" | "arches" | "groups" | "environments")
                || matches!(element.name.as_str(), "buildinstallpackages" | "modules");
            if !repeatable && element.children(&child.name).count() > 1 {
                let message = format!("<{}> stands twice in <{}>", child.name, element.name);
                return Err(self.error(child, message, None));
            }
            self.check(child)?;
        }
        Ok(())
    }

    fn check_text(&self, element: &Element) -> Result<(), Error> {
        let text = element.text.as_str();
        if text.is_empty() {
            return Err(self.error(element, format!("<{}> is empty", element.name), None));
        }
        if text.trim() != text {
            let message = format!("<{}> has blanks around '{}'", element.name, text.trim());
            return Err(self.error(element, message, Some("remove them")));
        }
        Ok(())
    }

    fn required<'e>(&self, element: &'e Element, name: &str) -> Result<&'e str, Error> {
        match element.attribute(name) {
            Some(value) if !value.trim().is_empty() => Ok(value),
            _ => Err(self.error(element, format!("<{}> has no '{name}'", element.name), None)),
        }
    }

    fn kind(&self, element: &Element) -> Result<VariantKind, Error> {
        let text = self.required(element, "type")?;
        VariantKind::parse(text).ok_or_else(|| {
            let hint = "known types are variant, addon, optional and layered-product";
            self.error(element, format!("unknown variant type '{text}'"), Some(hint))
        })
    }

    fn boolean(&self, element: &Element, name: &str) -> Result<Option<bool>, Error> {
        match element.attribute(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => {
                let message = format!("'{name}' of <{}> is '{other}'", element.name);
                Err(self.error(element, message, Some("use \"true\" or \"false\"")))
            }
        }
    }

    /// Adds the variant described by `element`, named at `place` (the `<ref>`, where there is one), and its children.
    fn variant(&mut self, element: &'a Element, place: &'a Element, parent: Option<&Variant>) -> Result<(), Error> {
        let id = self.required(element, "id")?;
        let uid = self.uid(place, id, parent)?;
        if let Some(line) = self.uids.insert(uid.clone(), place.line) {
            let message = format!("variant '{uid}' stands twice, first on line {line}");
            return Err(self.error(place, message, None));
        }
        let listed = self.arches(element)?;
        let arches = self.selected_arches(element, &uid, &listed, parent)?;
        let variant = self.read(element, uid, arches, parent)?;
        self.entries += 1 + variant.groups.len() + variant.environments.len() + variant.buildinstall_packages.len();
        self.entries += variant.modules.as_ref().map_or(0, |list| list.modules.len() + list.koji_tags.len());
        if self.entries > MAX_ENTRIES {
            let message = format!("templates expand to more than {MAX_ENTRIES} entries");
            return Err(self.error(place, message, None));
        }
        let nested: Vec<&'a Element> = match element.child("variants") {
            Some(list) => list.children.iter().collect(),
            None => Vec::new(),
        };
        let has_optional = self.boolean(element, "has_optional")? == Some(true);
        if variant.kind != VariantKind::Variant && (has_optional || !nested.is_empty()) {
            let message = format!("variant '{}' of type {} has children", variant.uid, variant.kind);
            return Err(self.error(element, message, Some("only variants of type variant may have children")));
        }
        let selected =
            self.filter.tree_variants.is_empty() || self.filter.tree_variants.iter().any(|name| variant.uid == **name);
        let kept = selected && !variant.arches.is_empty();
        let mark = self.found.len();
        self.children(&variant, &nested, has_optional)?;
        if kept {
            self.found.push(variant);
        } else {
            // Nothing below an excluded variant is part of the compose.
            self.found.truncate(mark);
        }
        Ok(())
    }

    fn children(&mut self, parent: &Variant, nested: &[&'a Element], has_optional: bool) -> Result<(), Error> {
        let mut explicit = false;
        for place in nested {
            let element = if place.name == "ref" { self.template(place)? } else { place };
            let kind = self.kind(element)?;
            if kind == VariantKind::Variant {
                let message = format!("variant '{}' contains a variant of type variant", parent.uid);
                let hint = "nested variants are of type addon, optional or layered-product";
                return Err(self.error(place, message, Some(hint)));
            }
            explicit |= kind == VariantKind::Optional;
            self.variant(element, place, Some(parent))?;
        }
        if has_optional && !explicit {
            self.implied_optional(parent)?;
        }
        Ok(())
    }

    fn template(&self, place: &Element) -> Result<&'a Element, Error> {
        let id = self.required(place, "id")?;
        self.templates.get(id).copied().ok_or_else(|| {
            let hint = "define it as a top-level <variant> of type addon or layered-product";
            self.error(place, format!("<ref> names '{id}', which is not defined"), Some(hint))
        })
    }

    fn uid(&self, place: &Element, id: &str, parent: Option<&Variant>) -> Result<VariantUid, Error> {
        let invalid = |message: String, hint| Err(self.error(place, message, Some(hint)));
        let uid = match parent {
            None => VariantUid::new(id),
            Some(parent) if parent.id == id => {
                return invalid(format!("variant '{id}' has its parent's id"), "give it another id");
            }
            // productmd 1.x `composeinfo.Variant`: below the top level the uid must be exactly parent, dash, id,
            // and the id letters and digits, so a dash could not be written to composeinfo.json.
            Some(_) if id.contains('-') => {
                return invalid(format!("id '{id}' of a nested variant has a dash"), "use letters and digits");
            }
            Some(parent) => VariantUid::new(format!("{}-{id}", parent.uid)),
        };
        uid.map_err(|error| self.error(place, error.to_string(), None))
    }

    fn arches(&self, element: &Element) -> Result<BTreeSet<String>, Error> {
        let mut arches = BTreeSet::new();
        if let Some(list) = element.child("arches") {
            for arch in list.children("arch") {
                if !is_tree_arch(&arch.text) {
                    let message = format!("'{}' is not a tree architecture", arch.text);
                    return Err(self.error(arch, message, Some("sources and noarch packages come by themselves")));
                }
                arches.insert(arch.text.clone());
            }
        }
        if arches.is_empty() {
            return Err(self.error(element, "variant has no <arch>", None));
        }
        Ok(arches)
    }

    /// Architectures after the parent's and the configured ones are taken into account.
    fn selected_arches(
        &self,
        element: &Element,
        uid: &VariantUid,
        listed: &BTreeSet<String>,
        parent: Option<&Variant>,
    ) -> Result<Vec<String>, Error> {
        let wanted = |arch: &&String| self.filter.tree_arches.is_empty() || self.filter.tree_arches.contains(arch);
        let Some(parent) = parent else {
            return Ok(listed.iter().filter(wanted).cloned().collect());
        };
        let common: Vec<&String> = listed.iter().filter(|arch| parent.arches.contains(arch)).collect();
        // A parent that was narrowed by `tree_arches` says nothing about the file itself.
        if common.is_empty() && self.filter.tree_arches.is_empty() {
            let message = format!("variant '{uid}' has no architecture in common with '{}'", parent.uid);
            return Err(self.error(element, message, Some("list one of the parent's architectures")));
        }
        Ok(common.into_iter().filter(wanted).cloned().collect())
    }

    fn read(
        &mut self,
        element: &Element,
        uid: VariantUid,
        arches: Vec<String>,
        parent: Option<&Variant>,
    ) -> Result<Variant, Error> {
        let kind = self.kind(element)?;
        let is_empty = self.boolean(element, "is_empty")?;
        if is_empty == Some(false) {
            // pungi 4.3.2 takes any non-empty text as true.
            self.warn(element, "is_empty=\"false\" means false here; Pungi reads it as true");
        }
        Ok(Variant {
            uid,
            id: self.required(element, "id")?.to_owned(),
            name: self.required(element, "name")?.to_owned(),
            kind,
            parent: parent.map(|parent| parent.uid.clone()),
            arches,
            groups: self.groups(element)?,
            environments: self.environments(element)?,
            modules: self.modules(element)?,
            is_empty: is_empty == Some(true),
            release: self.release(element, kind)?,
            buildinstall_packages: texts(element, "buildinstallpackages", "package"),
        })
    }

    fn groups(&self, element: &Element) -> Result<Vec<GroupRef>, Error> {
        let mut groups = Vec::new();
        for list in element.children("groups") {
            for group in list.children("group") {
                groups.push(GroupRef {
                    name: group.text.clone(),
                    glob: self.boolean(group, "glob")? == Some(true),
                    default: self.boolean(group, "default")?,
                    user_visible: self.boolean(group, "uservisible")?,
                });
            }
        }
        Ok(groups)
    }

    fn environments(&self, element: &Element) -> Result<Vec<EnvironmentRef>, Error> {
        let mut environments = Vec::new();
        for list in element.children("environments") {
            for environment in list.children("environment") {
                let display_order = match environment.attribute("display_order") {
                    None => None,
                    Some(text) => Some(text.trim().parse().map_err(|_| {
                        self.error(environment, format!("display_order '{text}' is not a whole number"), None)
                    })?),
                };
                environments.push(EnvironmentRef { name: environment.text.clone(), display_order });
            }
        }
        Ok(environments)
    }

    fn modules(&self, element: &Element) -> Result<Option<Modules>, Error> {
        let Some(list) = element.child("modules") else {
            return Ok(None);
        };
        let mut modules = Vec::new();
        for module in list.children("module") {
            modules.push(ModuleRef { name: module.text.clone(), glob: self.boolean(module, "glob")? == Some(true) });
        }
        Ok(Some(Modules { modules, koji_tags: list.children("kojitag").map(|tag| tag.text.clone()).collect() }))
    }

    fn release(&self, element: &Element, kind: VariantKind) -> Result<Option<LayeredRelease>, Error> {
        match (kind, element.child("release")) {
            (VariantKind::LayeredProduct, Some(release)) => Ok(Some(LayeredRelease {
                name: self.required(release, "name")?.to_owned(),
                short: self.required(release, "short")?.to_owned(),
                version: self.required(release, "version")?.to_owned(),
            })),
            (VariantKind::LayeredProduct, None) => {
                let hint = "add <release name=… short=… version=…/>";
                Err(self.error(element, "layered product has no <release>", Some(hint)))
            }
            (_, None) => Ok(None),
            (kind, Some(release)) => {
                let message = format!("<release> is not allowed in a variant of type {kind}");
                Err(self.error(release, message, None))
            }
        }
    }

    /// The child that `has_optional="true"` asks for: its parent's architectures, no groups.
    fn implied_optional(&mut self, parent: &Variant) -> Result<(), Error> {
        let uid = VariantUid(format!("{}-optional", parent.uid));
        if self.uids.insert(uid.clone(), 0).is_some() {
            return Err(Error {
                file: self.file.to_owned(),
                line: self.uids.get(&parent.uid).copied().unwrap_or(1),
                message: format!("variant '{uid}' stands twice"),
                hint: Some("remove has_optional"),
            });
        }
        let selected =
            self.filter.tree_variants.is_empty() || self.filter.tree_variants.iter().any(|name| uid == **name);
        if selected && !parent.arches.is_empty() {
            self.found.push(Variant {
                uid,
                id: "optional".to_owned(),
                name: "optional".to_owned(),
                kind: VariantKind::Optional,
                parent: Some(parent.uid.clone()),
                arches: parent.arches.clone(),
                groups: Vec::new(),
                environments: Vec::new(),
                modules: None,
                is_empty: false,
                release: None,
                buildinstall_packages: Vec::new(),
            });
        }
        Ok(())
    }
}

fn texts(element: &Element, list: &str, item: &str) -> Vec<String> {
    element.children(list).flat_map(|list| list.children(item)).map(|item| item.text.clone()).collect()
}
