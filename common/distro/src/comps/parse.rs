//! comps.xml and comps.xml.in into [`Comps`] (libcomps 0.1.19 `comps_parse.c`, pungi 4.3.2 `wrappers/comps.py`).
//!
//! Elements that no tool reads (`metapkg`, `groupreq` of old files) are reported and left out. The translatable
//! elements of source files have an underscore before their name; they are read as if they had none.

use std::collections::{BTreeMap, BTreeSet};

use super::{Category, Comps, Environment, Group, GroupId, PackageKind, PackageReq, Scope, Text, Warning};
use crate::xml::{self, Element};

/// What is wrong with a comps file.
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

impl Comps {
    /// Reads comps from `text`; `file` is its name in messages.
    ///
    /// Groups, categories and environments that stand twice are merged, with a warning.
    ///
    /// # Errors
    /// If the text is no XML, its root is not `<comps>`, an id is missing, a package name has blanks around it, or a
    /// package type is unknown.
    pub fn parse(text: &str, file: &str) -> Result<(Self, Vec<Warning>), Error> {
        let root = xml::parse(text).map_err(|error| Error {
            file: file.to_owned(),
            line: error.line,
            message: error.message,
            hint: None,
        })?;
        let mut parser = Parser { file, warnings: BTreeSet::new() };
        let comps = parser.document(&root)?;
        Ok((comps, parser.warnings.into_iter().collect()))
    }
}

struct Parser<'a> {
    file: &'a str,
    warnings: BTreeSet<Warning>,
}

impl Parser<'_> {
    fn error(&self, element: &Element, message: impl Into<String>, hint: Option<&'static str>) -> Error {
        Error { file: self.file.to_owned(), line: element.line, message: message.into(), hint }
    }

    fn warn(&mut self, element: &Element, message: impl AsRef<str>) {
        self.warnings.insert(Warning { message: format!("{}:{}: {}", self.file, element.line, message.as_ref()) });
    }

    fn document(&mut self, root: &Element) -> Result<Comps, Error> {
        if root.name != "comps" {
            let message = format!("root element is <{}>, expected <comps>", root.name);
            return Err(self.error(root, message, None));
        }
        let mut comps = Comps::default();
        let (mut groups, mut categories, mut environments) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for element in &root.children {
            match element.name.as_str() {
                "group" => {
                    let group = self.group(element)?;
                    let known = *groups.entry(group.id.clone()).or_insert(comps.groups.len());
                    match comps.groups.get_mut(known) {
                        None => comps.groups.push(group),
                        Some(first) => {
                            self.warn(element, format!("group '{}' stands twice; the two are merged", group.id));
                            first.packages.extend(group.packages);
                        }
                    }
                }
                "category" => {
                    let category = self.category(element)?;
                    let known = *categories.entry(category.id.clone()).or_insert(comps.categories.len());
                    match comps.categories.get_mut(known) {
                        None => comps.categories.push(category),
                        Some(first) => {
                            self.warn(element, format!("category '{}' stands twice; the two are merged", category.id));
                            first.groups.extend(category.groups);
                        }
                    }
                }
                "environment" => {
                    let environment = self.environment(element)?;
                    let known = *environments.entry(environment.id.clone()).or_insert(comps.environments.len());
                    match comps.environments.get_mut(known) {
                        None => comps.environments.push(environment),
                        Some(first) => {
                            let message = format!("environment '{}' stands twice; the two are merged", environment.id);
                            self.warn(element, message);
                            first.groups.extend(environment.groups);
                            first.options.extend(environment.options);
                        }
                    }
                }
                "langpacks" => self.langpacks(element, &mut comps.langpacks),
                other => self.warn(element, format!("unknown element <{other}> is left out")),
            }
        }
        Ok(comps)
    }

    fn id(&self, element: &Element) -> Result<String, Error> {
        let id = element.child("id").map(|id| id.text.trim()).unwrap_or_default();
        if id.is_empty() {
            return Err(self.error(element, format!("<{}> has no <id>", element.name), None));
        }
        Ok(id.to_owned())
    }

    fn group(&mut self, element: &Element) -> Result<Group, Error> {
        let mut group = Group {
            id: self.id(element)?,
            name: text(element, "name"),
            description: text(element, "description"),
            // Defaults of libcomps: not selected, but shown.
            user_visible: true,
            scope: scope(element),
            ..Group::default()
        };
        for child in &element.children {
            match child.name.trim_start_matches('_') {
                "id" | "name" | "description" => {}
                "default" => group.default = self.boolean(child),
                "uservisible" => group.user_visible = self.boolean(child),
                "biarchonly" => group.biarch_only = self.boolean(child),
                "langonly" => group.lang_only = Some(child.text.trim().to_owned()).filter(|text| !text.is_empty()),
                "display_order" => group.display_order = self.number(child),
                "packagelist" => self.packages(child, &mut group.packages)?,
                other => self.warn(child, format!("unknown element <{other}> of group '{}' is left out", group.id)),
            }
        }
        Ok(group)
    }

    fn packages(&mut self, list: &Element, packages: &mut Vec<PackageReq>) -> Result<(), Error> {
        for element in &list.children {
            if element.name == "packagereq" {
                packages.push(self.package(element)?);
            } else {
                self.warn(element, format!("unknown element <{}> of a package list is left out", element.name));
            }
        }
        Ok(())
    }

    fn package(&mut self, element: &Element) -> Result<PackageReq, Error> {
        let name = element.text.as_str();
        if name.trim().is_empty() {
            return Err(self.error(element, "<packagereq> has no package name", None));
        }
        if name.trim() != name {
            // pungi 4.3.2 `wrappers/comps.py`: the whitespace check of the init phase.
            let message = format!("package name '{}' has blanks around it", name.trim());
            return Err(self.error(element, message, Some("remove them")));
        }
        let kind = match element.attribute("type") {
            // libcomps takes a missing type as mandatory.
            None | Some("") => PackageKind::Mandatory,
            Some(text) => PackageKind::parse(text).ok_or_else(|| {
                let hint = "known types are mandatory, default, optional and conditional";
                self.error(element, format!("package '{name}' has unknown type '{text}'"), Some(hint))
            })?,
        };
        let requires = element.attribute("requires").map(str::trim).filter(|text| !text.is_empty());
        if kind == PackageKind::Conditional && requires.is_none() {
            self.warn(element, format!("conditional package '{name}' has no 'requires'"));
        }
        Ok(PackageReq {
            name: name.to_owned(),
            kind,
            requires: requires.map(str::to_owned),
            basearch_only: element.attribute("basearchonly").is_some_and(truth),
            scope: scope(element),
        })
    }

    fn category(&mut self, element: &Element) -> Result<Category, Error> {
        let mut category = Category {
            id: self.id(element)?,
            name: text(element, "name"),
            description: text(element, "description"),
            ..Category::default()
        };
        for child in &element.children {
            match child.name.trim_start_matches('_') {
                "id" | "name" | "description" => {}
                "display_order" => category.display_order = self.number(child),
                "grouplist" => self.group_ids(child, &mut category.groups),
                other => {
                    self.warn(child, format!("unknown element <{other}> of category '{}' is left out", category.id))
                }
            }
        }
        Ok(category)
    }

    fn environment(&mut self, element: &Element) -> Result<Environment, Error> {
        let mut environment = Environment {
            id: self.id(element)?,
            name: text(element, "name"),
            description: text(element, "description"),
            scope: scope(element),
            ..Environment::default()
        };
        for child in &element.children {
            match child.name.trim_start_matches('_') {
                "id" | "name" | "description" => {}
                "display_order" => environment.display_order = self.number(child),
                "grouplist" => self.group_ids(child, &mut environment.groups),
                "optionlist" => self.group_ids(child, &mut environment.options),
                other => {
                    let message = format!("unknown element <{other}> of environment '{}' is left out", environment.id);
                    self.warn(child, message);
                }
            }
        }
        Ok(environment)
    }

    fn group_ids(&mut self, list: &Element, groups: &mut Vec<GroupId>) {
        for element in &list.children {
            let id = element.text.trim();
            if element.name != "groupid" || id.is_empty() {
                self.warn(element, format!("<{}> in a group list is left out", element.name));
                continue;
            }
            groups.push(GroupId {
                id: id.to_owned(),
                default: element.attribute("default").is_some_and(truth),
                scope: scope(element),
            });
        }
    }

    fn langpacks(&mut self, list: &Element, langpacks: &mut BTreeMap<String, String>) {
        for element in &list.children {
            let (name, install) = (element.attribute("name"), element.attribute("install"));
            match (element.name.as_str(), name, install) {
                ("match", Some(name), Some(install)) if !name.is_empty() && !install.is_empty() => {
                    langpacks.insert(name.to_owned(), install.to_owned());
                }
                _ => self.warn(element, format!("<{}> in <langpacks> is left out", element.name)),
            }
        }
    }

    fn boolean(&mut self, element: &Element) -> bool {
        let text = element.text.trim();
        if !truth(text) && !matches!(text.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "") {
            self.warn(element, format!("<{}> is '{text}', taken as false", element.name));
        }
        truth(text)
    }

    fn number(&mut self, element: &Element) -> Option<i32> {
        let text = element.text.trim();
        let number = text.parse().ok();
        if number.is_none() {
            self.warn(element, format!("<{}> is '{text}', not a whole number; left out", element.name));
        }
        number
    }
}

fn truth(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes")
}

/// Untranslated text and translations of `<name>` or `<description>`, with or without underscore.
fn text(element: &Element, name: &str) -> Text {
    let mut found = Text::default();
    for child in &element.children {
        if child.name.trim_start_matches('_') != name {
            continue;
        }
        match child.attribute("xml:lang") {
            None | Some("") if found.text.is_empty() => child.text.trim().clone_into(&mut found.text),
            None | Some("") => {}
            Some(language) => {
                let text = child.text.trim().to_owned();
                found.translations.entry(language.to_owned()).or_insert(text);
            }
        }
    }
    found
}

/// The `arch` and `variant` attributes: lists separated by commas and blanks (pungi 4.3.2 `wrappers/comps.py`).
fn scope(element: &Element) -> Scope {
    let list = |name| -> Vec<String> {
        let text = element.attribute(name).unwrap_or_default();
        text.split([',', ' ', '\t', '\n']).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    Scope { arches: list("arch"), variants: list("variant") }
}
