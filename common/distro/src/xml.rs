//! A small, bounded XML tree for the two hand-written file formats of a compose (variants.xml and comps).
//!
//! Not a general XML library: a document type declaration is read over, never acted on; no entity is expanded besides
//! the five of XML itself and character references; sizes, depth and counts are limited before memory is used.
//! Repository metadata, which is large, is not read through this.

use std::fmt;

use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// Bytes of one document; Fedora's comps, the largest known, has 0.4 MB without and 3 MB with translations.
pub(crate) const MAX_DOCUMENT: usize = 16 << 20;
/// Bytes of memory that the tree may take; 3 MB of comps take some 12 MB. An element of four bytes takes fifty times as
/// much, so that the document's size alone bounds nothing.
const MAX_MEMORY: usize = 36 << 20;
/// What the allocator takes beside each piece of text.
const ALLOCATION: usize = 32;
/// Nesting; variants.xml needs 9, comps 5.
const MAX_DEPTH: usize = 32;
/// Attributes of one element.
const MAX_ATTRIBUTES: usize = 32;
/// Bytes of all attributes of one element, and of one element's own text.
const MAX_TEXT: usize = 64 << 10;

/// One element with everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Element>,
    /// Text directly inside, comments left out, pieces joined.
    pub(crate) text: String,
    /// Line of the start tag, from 1.
    pub(crate) line: u32,
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XmlError {
    pub(crate) line: u32,
    pub(crate) message: String,
}

impl XmlError {
    fn new(line: u32, message: impl fmt::Display) -> Self {
        Self { line, message: message.to_string() }
    }
}

/// Counts lines once over the whole text, since events come in order.
struct Lines<'a> {
    text: &'a [u8],
    seen: usize,
    line: u32,
}

impl Lines<'_> {
    fn at(&mut self, position: u64) -> u32 {
        let end = usize::try_from(position).unwrap_or(usize::MAX).min(self.text.len());
        if let Some(part) = self.text.get(self.seen..end) {
            let count = part.iter().filter(|byte| **byte == b'\n').count();
            self.line = self.line.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
            self.seen = end;
        }
        self.line
    }
}

/// Reads one document into its root element.
pub(crate) fn parse(text: &str) -> Result<Element, XmlError> {
    if text.len() > MAX_DOCUMENT {
        let limit = MAX_DOCUMENT >> 20;
        return Err(XmlError::new(1, format_args!("document is larger than {limit} MiB")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_characters(text, 1)?;
    let mut reader = Reader::from_str(text);
    let mut builder = Builder::default();
    let mut lines = Lines { text: text.as_bytes(), seen: 0, line: 1 };
    loop {
        let line = lines.at(reader.buffer_position());
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => {
                let line = lines.at(reader.error_position());
                return Err(XmlError::new(line, error));
            }
        };
        match event {
            Event::Start(start) => builder.open(&start, line)?,
            Event::Empty(start) => {
                builder.open(&start, line)?;
                builder.close(line)?;
            }
            Event::End(_) => builder.close(line)?,
            Event::Text(part) => builder.text(&part.xml10_content(), line)?,
            Event::CData(part) => builder.text(&part.xml10_content(), line)?,
            Event::GeneralRef(reference) => {
                let name = reference.into_inner();
                let resolved = unescape(&format!("&{name};"), line)?;
                builder.text(&resolved, line)?;
            }
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::DocType(_) => {}
            Event::Eof => return builder.finish(lines.at(u64::MAX)),
        }
    }
}

/// Whether an XML 1.0 document may hold a character (section 2.2, Char), as it is or as a reference.
fn is_allowed(character: char) -> bool {
    !matches!(character, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

fn check_characters(text: &str, line: u32) -> Result<(), XmlError> {
    let Some((at, character)) = text.char_indices().find(|(_, character)| !is_allowed(*character)) else {
        return Ok(());
    };
    let before = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let line = line.saturating_add(u32::try_from(before).unwrap_or(u32::MAX));
    Err(XmlError::new(line, format_args!("character U+{:04X} is not allowed in XML", u32::from(character))))
}

fn unescape(raw: &str, line: u32) -> Result<String, XmlError> {
    match quick_xml::escape::unescape(raw) {
        Ok(text) => {
            check_characters(&text, line)?;
            Ok(text.into_owned())
        }
        Err(error) => Err(XmlError::new(line, format_args!("{error}; entities are not expanded"))),
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Element>,
    root: Option<Element>,
    /// Estimate of the tree's size in bytes. Lists grow twofold, so what lies in one counts twice.
    memory: usize,
}

impl Builder {
    fn open(&mut self, start: &BytesStart<'_>, line: u32) -> Result<(), XmlError> {
        if self.root.is_some() {
            return Err(XmlError::new(line, "second root element"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(XmlError::new(line, format_args!("elements nest deeper than {MAX_DEPTH}")));
        }
        let name = start.name();
        let name: &str = name.as_ref();
        if name.len() + start.attributes_raw().len() > MAX_TEXT {
            return Err(XmlError::new(line, format_args!("start tag is longer than {} KiB", MAX_TEXT >> 10)));
        }
        let attributes = attributes(start, line)?;
        let texts: usize = attributes.iter().map(|(key, value)| key.len() + value.len() + 2 * ALLOCATION).sum();
        let lists = 2 * size_of::<Element>() + attributes.len() * size_of::<(String, String)>();
        self.take(lists + texts + name.len() + ALLOCATION, line)?;
        self.open.push(Element { name: name.to_owned(), attributes, children: Vec::new(), text: String::new(), line });
        Ok(())
    }

    fn take(&mut self, bytes: usize, line: u32) -> Result<(), XmlError> {
        self.memory += bytes;
        if self.memory > MAX_MEMORY {
            let limit = MAX_MEMORY >> 20;
            return Err(XmlError::new(
                line,
                format_args!("elements up to here would take more than {limit} MiB of memory"),
            ));
        }
        Ok(())
    }

    fn close(&mut self, line: u32) -> Result<(), XmlError> {
        let Some(element) = self.open.pop() else {
            return Err(XmlError::new(line, "end tag without start tag"));
        };
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str, line: u32) -> Result<(), XmlError> {
        self.take(text.len(), line)?;
        let Some(element) = self.open.last_mut() else {
            if text.trim().is_empty() {
                return Ok(());
            }
            return Err(XmlError::new(line, "text outside of the root element"));
        };
        // Blank runs between elements are layout; counting them would limit the number of children.
        if text.trim().is_empty() && (element.text.is_empty() || !element.children.is_empty()) {
            return Ok(());
        }
        if element.text.len() + text.len() > MAX_TEXT {
            let limit = MAX_TEXT >> 10;
            return Err(XmlError::new(line, format_args!("text of <{}> is longer than {limit} KiB", element.name)));
        }
        element.text.push_str(text);
        Ok(())
    }

    fn finish(self, line: u32) -> Result<Element, XmlError> {
        if let Some(open) = self.open.last() {
            let message = format!("<{}> of line {} is not closed", open.name, open.line);
            return Err(XmlError::new(line, message));
        }
        self.root.ok_or_else(|| XmlError::new(line, "document has no root element"))
    }
}

fn attributes(start: &BytesStart<'_>, line: u32) -> Result<Vec<(String, String)>, XmlError> {
    let mut found: Vec<(String, String)> = Vec::new();
    // The reader's own duplicate check is off: ours runs after the count check.
    let mut raw = start.attributes();
    for attribute in raw.with_checks(false) {
        let attribute = attribute.map_err(|error| XmlError::new(line, error))?;
        if found.len() >= MAX_ATTRIBUTES {
            return Err(XmlError::new(line, format_args!("more than {MAX_ATTRIBUTES} attributes")));
        }
        let key: &str = attribute.key.as_ref();
        if found.iter().any(|(seen, _)| seen == key) {
            return Err(XmlError::new(line, format_args!("attribute '{key}' stands twice")));
        }
        found.push((key.to_owned(), unescape(&attribute.value, line)?));
    }
    found.shrink_to_fit();
    Ok(found)
}

/// Appends `text` to `out` with the characters escaped that XML 1.0 does not allow in text and attribute values.
///
/// Control characters that XML cannot express are left out.
pub(crate) fn escape_into(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            other if is_allowed(other) => out.push(other),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_a_tree_with_lines_and_references() {
        let text = "<?xml version='1.0'?>\n<!DOCTYPE a SYSTEM 'a.dtd'>\n<a>\n<b x='1 &amp; 2'>t&lt;<!-- c -->&#65;</b><b/></a>\n";
        let root = parse(text).unwrap();
        assert_eq!((root.name.as_str(), root.line), ("a", 3));
        let first = root.child("b").unwrap();
        assert_eq!(first.attribute("x"), Some("1 & 2"));
        assert_eq!((first.text.as_str(), first.line), ("t<A", 4));
        assert_eq!(root.children("b").count(), 2);
    }

    #[test]
    fn refuses_entities_of_the_document() {
        let text = "<!DOCTYPE a [<!ENTITY b 'x'><!ENTITY c '&b;&b;&b;'>]>\n<a>&c;</a>";
        let error = parse(text).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.message.contains("entities are not expanded"), "{error:?}");
        assert!(parse("<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a x='&b;'/>").is_err());
    }

    #[test]
    fn refuses_characters_that_xml_does_not_have() {
        for (text, character) in
            [("<a>\n\0</a>", "U+0000"), ("<a>\n&#31;</a>", "U+001F"), ("<a\nb='\u{ffff}'/>", "U+FFFF")]
        {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, 2, "{error:?}");
            assert!(error.message.contains(character), "{error:?}");
        }
        assert_eq!(parse("<a>\t\u{7f}\u{fffd}&#x10ffff;</a>").unwrap().text, "\t\u{7f}\u{fffd}\u{10ffff}");
    }

    #[test]
    fn refuses_what_is_too_large() {
        let deep = "<a>".repeat(100_000);
        assert!(parse(&deep).unwrap_err().message.contains("deeper"));
        let long = format!("<a b='{}'/>", "x".repeat(MAX_TEXT));
        assert!(parse(&long).unwrap_err().message.contains("start tag is longer"));
        let many: String = (0..40).map(|n| format!(" a{n}='1'")).collect();
        assert!(parse(&format!("<a{many}/>")).unwrap_err().message.contains("attributes"));
        let text = format!("<a>{}</a>", "x".repeat(MAX_TEXT + 1));
        assert!(parse(&text).unwrap_err().message.contains("text of <a>"));
        assert!(parse("<a x='1' x='2'/>").unwrap_err().message.contains("twice"));
    }

    #[test]
    fn refuses_what_is_not_one_document() {
        for bad in ["", "  ", "<a>", "<a></b>", "</a>", "<a/><b/>", "<a/>x", "x", "<a", "<a x=1/>", "<!DOCTYPE a ["] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,64}", cut in 0usize..90) {
            let _ = parse(&text);
            let sample = "<!DOCTYPE a [<!ENTITY b 'x'>]><a b='c'><![CDATA[é]]>&amp;<d/><!-- e --></a>";
            let cut = (0..=cut.min(sample.len())).rev().find(|at| sample.is_char_boundary(*at)).unwrap_or(0);
            let _ = parse(&format!("{}{text}{}", &sample[..cut], &sample[cut..]));
        }

        #[test]
        fn escaped_text_reads_back(text in "[ -~é\t\n]{0,40}") {
            let mut xml = String::from("<a b=\"");
            escape_into(&mut xml, &text.replace(['\n', '\t'], " "));
            xml.push_str("\">.");
            escape_into(&mut xml, &text);
            xml.push_str("</a>");
            let root = parse(&xml).unwrap();
            prop_assert_eq!(&root.text[1..], text.as_str());
            prop_assert_eq!(root.attribute("b").unwrap(), text.replace(['\n', '\t'], " "));
        }
    }
}
