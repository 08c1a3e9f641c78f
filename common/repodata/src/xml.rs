//! A pull parser for hostile XML: no entity expansion, and bounds on depth, attributes and the size of one event.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};

use crate::reader::RepositoryError;

/// Deepest nesting: `primary` needs 5.
const MAX_DEPTH: usize = 32;
/// Longest element name, in bytes.
const MAX_NAME: usize = 256;
/// Most attributes of one element: the formats need 6.
const MAX_ATTRIBUTES: usize = 64;
/// Largest tag or run of text, in bytes.
const MAX_EVENT: usize = 16 * 1024 * 1024;

/// One thing in the file. An empty element gives a start and an end.
pub(crate) enum Xml<'a> {
    Start(Element<'a>),
    Text(Cow<'a, str>),
    End,
    /// Comment, processing instruction or declaration.
    Nothing,
    Eof,
}

/// A start tag.
pub(crate) struct Element<'a> {
    start: BytesStart<'a>,
}

impl Element<'_> {
    /// Returns the name without its prefix. createrepo_c and libsolv look no closer at namespaces.
    pub(crate) fn name(&self) -> &str {
        self.start.local_name().into_inner()
    }

    /// Calls `take` with each attribute's name, without its prefix, and value.
    pub(crate) fn attributes(&self, mut take: impl FnMut(&str, Cow<'_, str>)) -> Result<(), String> {
        let mut attributes = self.start.attributes();
        attributes.with_checks(false);
        for (number, attribute) in attributes.enumerate() {
            if number >= MAX_ATTRIBUTES {
                return Err(format!("an element has more than {MAX_ATTRIBUTES} attributes"));
            }
            let attribute = attribute.map_err(|error| error.to_string())?;
            // Predefined entities and character references only; anything else is an error.
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
            take(attribute.key.local_name().into_inner(), value);
        }
        Ok(())
    }
}

/// A parser that knows its file's name.
pub(crate) struct XmlReader<R: Read> {
    file: String,
    reader: quick_xml::Reader<Budget<R>>,
    buffer: Vec<u8>,
    depth: usize,
}

impl<R: Read> XmlReader<R> {
    pub(crate) fn new(file: &str, input: R) -> Self {
        let mut reader =
            quick_xml::Reader::from_reader(Budget { input: BufReader::with_capacity(1 << 16, input), left: 0 });
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_end_names = true;
        Self { file: file.to_owned(), reader, buffer: Vec::new(), depth: 0 }
    }

    /// Number of bytes read.
    pub(crate) fn position(&self) -> u64 {
        self.reader.buffer_position()
    }

    /// An error at the present place.
    pub(crate) fn invalid(&self, what: impl Into<String>) -> RepositoryError {
        RepositoryError::Invalid { file: self.file.clone(), offset: self.position(), what: what.into() }
    }

    /// Reads the next event, with the number of elements that are open: an element counts itself at its start and end.
    pub(crate) fn next(&mut self) -> Result<(usize, Xml<'_>), RepositoryError> {
        let Self { file, reader, buffer, depth } = self;
        buffer.clear();
        // One large event must not hold its memory for the rest of the file.
        buffer.shrink_to(1 << 20);
        reader.get_mut().left = MAX_EVENT;
        let event = reader.read_event_into(buffer);
        let offset = reader.buffer_position();
        let invalid = |what: String| RepositoryError::Invalid { file: file.clone(), offset, what };
        let event = event.map_err(|error| match error {
            quick_xml::Error::Io(source) => {
                RepositoryError::Read { file: file.clone(), source: io::Error::new(source.kind(), source.to_string()) }
            }
            other => invalid(other.to_string()),
        })?;
        let xml = match event {
            Event::Start(start) | Event::Empty(start) => {
                *depth += 1;
                if *depth > MAX_DEPTH {
                    return Err(invalid(format!("elements are nested deeper than {MAX_DEPTH}")));
                }
                if start.name().into_inner().len() > MAX_NAME {
                    return Err(invalid(format!("an element's name is longer than {MAX_NAME} bytes")));
                }
                Xml::Start(Element { start })
            }
            Event::End(_) => {
                *depth -= 1;
                return Ok((*depth + 1, Xml::End));
            }
            Event::Text(text) => Xml::Text(text.xml10_content()),
            Event::CData(text) => Xml::Text(text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => Xml::Text(Cow::Owned(character.to_string())),
                Ok(None) => match resolve_xml_entity(&reference) {
                    Some(text) => Xml::Text(Cow::Borrowed(text)),
                    None => return Err(invalid(format!("unknown entity &{};", shortened(&reference)))),
                },
                Err(error) => return Err(invalid(error.to_string())),
            },
            Event::DocType(_) => return Err(invalid("a document type declaration is not allowed".into())),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => Xml::Nothing,
            Event::Eof if *depth > 0 => return Err(invalid("the file ends inside of an element".into())),
            Event::Eof => Xml::Eof,
        };
        Ok((*depth, xml))
    }

    /// Returns the input, with what is buffered of it lost.
    pub(crate) fn into_input(self) -> R {
        self.reader.into_inner().input.into_inner()
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Input that refuses to give more than a set number of bytes to one event.
struct Budget<R: Read> {
    input: BufReader<R>,
    left: usize,
}

impl<R: Read> Read for Budget<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<R: Read> BufRead for Budget<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(io::Error::other(format!("a tag or text is longer than {MAX_EVENT} bytes")));
        }
        let buffer = self.input.fill_buf()?;
        Ok(&buffer[..buffer.len().min(self.left)])
    }

    fn consume(&mut self, amount: usize) {
        self.left = self.left.saturating_sub(amount);
        self.input.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escape::{push_attribute, push_text};
    use proptest::prelude::*;

    /// Text of the whole document and of its last attribute.
    fn parse(document: &[u8]) -> Result<(String, String), RepositoryError> {
        let mut reader = XmlReader::new("test.xml", document);
        let (mut attribute, mut text) = (String::new(), String::new());
        loop {
            match reader.next()?.1 {
                Xml::Start(element) => {
                    let taken = element.attributes(|_, value| attribute = value.into_owned());
                    taken.map_err(|what| reader.invalid(what))?;
                }
                Xml::Text(more) => text += &more,
                Xml::End | Xml::Nothing => {}
                Xml::Eof => return Ok((attribute, text)),
            }
        }
    }

    fn refusal(document: impl AsRef<[u8]>) -> String {
        parse(document.as_ref()).unwrap_err().to_string()
    }

    proptest! {
        #[test]
        fn escaped_text_comes_back(value in "[^\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{fffe}\u{ffff}]{0,60}") {
            let mut document = b"<a b=\"".to_vec();
            push_attribute(&mut document, &value);
            document.extend_from_slice(b"\">");
            push_text(&mut document, &value);
            document.extend_from_slice(b"</a>");
            prop_assert_eq!(parse(&document).unwrap(), (value.clone(), value));
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"<a b='".as_slice(), &bytes, b"'>".as_slice(), &bytes, b"</a>".as_slice()].concat());
        }
    }

    #[test]
    fn bombs_are_refused() {
        let laughs = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>";
        assert!(refusal(laughs).contains("document type"), "{}", refusal(laughs));
        assert!(refusal("<a>&c;</a>").contains("unknown entity &c;"));
        assert!(refusal("<a b='&c;'/>").contains('c'));
        assert!(refusal("<a>".repeat(40)).contains("nested deeper"));
        let attributes: String = (0..100).map(|number| format!(" a{number}='1'")).collect();
        assert!(refusal(format!("<a{attributes}/>")).contains("64 attributes"));
        assert!(refusal(format!("<{}/>", "a".repeat(300))).contains("name is longer"));
        assert!(refusal("<a>").contains("ends inside"));
        assert!(refusal("<a></b>").contains("test.xml"));
        assert!(refusal(b"<a>\xff</a>").contains("test.xml"));
    }

    #[test]
    fn an_endless_text_stops() {
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer.fill(b'x');
                Ok(buffer.len())
            }
        }
        for head in ["<a>", "<a b='", "<!-- ", "<![CDATA[", "<?pi ", "<"] {
            let mut reader = XmlReader::new("test.xml", head.as_bytes().chain(Endless));
            let error = loop {
                match reader.next() {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, RepositoryError::Read { .. } | RepositoryError::Invalid { .. }), "{head}: {error}");
            assert!(reader.buffer.capacity() < 64 << 20, "{head}");
        }
    }
}
