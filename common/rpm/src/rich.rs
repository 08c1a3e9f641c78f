//! Rich (boolean) dependencies: `(a or b)`, `(a and b)`, `(a if b else c)`, `(a unless b else c)`, `(a with b)`,
//! `(a without b)`, nested as deep as [`MAX_DEPTH`].
//!
//! Accepts what rpm 4.20 accepts (`lib/rpmds.c`, `rpmrichParse`), save a lone `(a else b)`, which has no meaning and
//! which libsolv refuses. Rules that depend on the tag (`if` in conflicts) belong to rpmbuild and are not applied.
//!
//! Nothing here recurses: the parser keeps its own stack, and [`Rich`] is an arena in which operands always stand before
//! the node that uses them. A caller evaluates it with one loop over [`Rich::nodes`]; the last node is the root.

use std::fmt;

use crate::dependency::{Dependency, Sense};
use crate::evr::Evr;

/// Longest text that is parsed, in bytes. The longest rich dependencies of Fedora are below 4 KiB.
pub const MAX_TEXT: usize = 64 * 1024;

/// Deepest nesting of parentheses.
pub const MAX_DEPTH: usize = 128;

/// Place of a node in [`Rich::nodes`].
pub type NodeId = usize;

/// One node of a rich dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A plain dependency.
    Simple(Dependency),
    /// All must hold (at least two).
    And(Vec<NodeId>),
    /// One must hold (at least two, best first).
    Or(Vec<NodeId>),
    /// One package must satisfy all (at least two).
    With(Vec<NodeId>),
    /// One package must satisfy `wanted` and not `unwanted`.
    Without {
        /// What the package must provide.
        wanted: NodeId,
        /// What it must not provide.
        unwanted: NodeId,
    },
    /// `wanted` must hold if `condition` does, else `otherwise` (if given).
    If {
        /// Left side.
        wanted: NodeId,
        /// Right side of `if`.
        condition: NodeId,
        /// Right side of `else`.
        otherwise: Option<NodeId>,
    },
    /// `wanted` must hold unless `condition` does, in which case `otherwise` (if given).
    Unless {
        /// Left side.
        wanted: NodeId,
        /// Right side of `unless`.
        condition: NodeId,
        /// Right side of `else`.
        otherwise: Option<NodeId>,
    },
}

impl Node {
    /// Operands in the order of the text.
    pub fn operands(&self) -> Vec<NodeId> {
        match self {
            Node::Simple(_) => Vec::new(),
            Node::And(operands) | Node::Or(operands) | Node::With(operands) => operands.clone(),
            Node::Without { wanted, unwanted } => vec![*wanted, *unwanted],
            Node::If { wanted, condition, otherwise } | Node::Unless { wanted, condition, otherwise } => {
                [*wanted, *condition].into_iter().chain(*otherwise).collect()
            }
        }
    }

    fn operator(&self) -> &'static str {
        match self {
            Node::Simple(_) => "",
            Node::And(_) => "and",
            Node::Or(_) => "or",
            Node::With(_) => "with",
            Node::Without { .. } => "without",
            Node::If { .. } => "if",
            Node::Unless { .. } => "unless",
        }
    }
}

/// A parsed rich dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rich {
    nodes: Vec<Node>,
}

/// Why a text is no rich dependency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rich dependency, byte {offset}: {kind}")]
pub struct RichError {
    /// Byte of the text at which parsing stopped.
    pub offset: usize,
    /// What is wrong there.
    pub kind: RichErrorKind,
}

/// What is wrong in a rich dependency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RichErrorKind {
    /// The text is longer than [`MAX_TEXT`].
    #[error("text of {0} bytes is longer than {MAX_TEXT}")]
    TooLong(usize),
    /// Parentheses are nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// The text does not start with `(`.
    #[error("does not start with '('")]
    NoParenthesis,
    /// `()`.
    #[error("empty parentheses")]
    Empty,
    /// `(a and )`.
    #[error("operand missing after operator")]
    MissingOperand,
    /// `(a >= )`.
    #[error("version missing after comparison operator")]
    MissingVersion,
    /// The text ends before the last `)`.
    #[error("')' missing")]
    Unterminated,
    /// A word where an operator must stand.
    #[error("unknown operator {0:?}")]
    UnknownOperator(String),
    /// `(a and b or c)`.
    #[error("different operators need parentheses")]
    MixedOperators,
    /// `(a if b if c)`.
    #[error("only and, or and with can be repeated")]
    Repeated,
    /// `else` without `if` or `unless`.
    #[error("else without if or unless")]
    LoneElse,
    /// `(a with (b and c))`.
    #[error("operands of with and without can only be with, without and or")]
    IllegalInWith,
    /// Text after the last `)`.
    #[error("text after the closing ')'")]
    Junk,
}

impl Rich {
    /// Parses the text of a rich dependency.
    pub fn parse(text: &str) -> Result<Rich, RichError> {
        if text.len() > MAX_TEXT {
            return Err(RichError { offset: MAX_TEXT, kind: RichErrorKind::TooLong(text.len()) });
        }
        Parser { text, position: 0, nodes: Vec::new() }.parse()
    }

    /// All nodes, operands before the node that uses them; the last is the root. Never empty.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Place of the root.
    pub fn root(&self) -> NodeId {
        self.nodes.len() - 1
    }

    /// The plain dependencies, in the order of the text.
    pub fn leaves(&self) -> impl Iterator<Item = &Dependency> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Simple(dependency) => Some(dependency),
            _ => None,
        })
    }
}

impl fmt::Display for Rich {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        enum Piece {
            Node(NodeId),
            Text(&'static str),
        }
        let mut stack = vec![Piece::Node(self.root())];
        if matches!(self.nodes[self.root()], Node::Simple(_)) {
            stack = vec![Piece::Text(")"), Piece::Node(self.root()), Piece::Text("(")];
        }
        while let Some(piece) = stack.pop() {
            let id = match piece {
                Piece::Text(text) => {
                    formatter.write_str(text)?;
                    continue;
                }
                Piece::Node(id) => id,
            };
            if let Node::Simple(dependency) = &self.nodes[id] {
                write!(formatter, "{dependency}")?;
                continue;
            }
            let operands = self.nodes[id].operands();
            let word = self.nodes[id].operator();
            stack.push(Piece::Text(")"));
            for (place, operand) in operands.iter().enumerate().rev() {
                stack.push(Piece::Node(*operand));
                if place > 0 {
                    let is_else = place == 2 && matches!(word, "if" | "unless");
                    stack.push(Piece::Text(" "));
                    stack.push(Piece::Text(if is_else { "else" } else { word }));
                    stack.push(Piece::Text(" "));
                }
            }
            stack.push(Piece::Text("("));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    And,
    Or,
    If,
    Unless,
    Else,
    With,
    Without,
}

impl Operator {
    fn from_word(word: &str) -> Option<Operator> {
        Some(match word {
            "and" => Operator::And,
            "or" => Operator::Or,
            "if" => Operator::If,
            "unless" => Operator::Unless,
            "else" => Operator::Else,
            "with" => Operator::With,
            "without" => Operator::Without,
            _ => return None,
        })
    }
}

/// One open parenthesis.
#[derive(Default)]
struct Frame {
    operands: Vec<NodeId>,
    /// Operators between the operands; after a valid parse all equal, or `if`/`unless` and `else`.
    operators: Vec<Operator>,
    /// Contains something that may not stand below `with` or `without`.
    not_below_with: bool,
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
    nodes: Vec<Node>,
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

impl Parser<'_> {
    fn parse(mut self) -> Result<Rich, RichError> {
        if self.peek() != Some(b'(') {
            return Err(self.error(RichErrorKind::NoParenthesis));
        }
        self.position = 1;
        let mut stack = vec![Frame::default()];
        loop {
            let depth = stack.len();
            let Some(frame) = stack.last_mut() else { break };
            self.skip_space();
            match self.peek() {
                Some(b')') if frame.operands.is_empty() => return Err(self.error(RichErrorKind::Empty)),
                Some(b')') => return Err(self.error(RichErrorKind::MissingOperand)),
                Some(b'(') if depth == MAX_DEPTH => return Err(self.error(RichErrorKind::TooDeep)),
                Some(b'(') => {
                    self.position += 1;
                    stack.push(Frame::default());
                    continue;
                }
                None => return Err(self.error(RichErrorKind::Unterminated)),
                Some(_) => {
                    let leaf = self.simple()?;
                    frame.operands.push(leaf);
                }
            }
            self.close_and_continue(&mut stack)?;
        }
        if self.position != self.text.len() {
            return Err(self.error(RichErrorKind::Junk));
        }
        Ok(Rich { nodes: self.nodes })
    }

    /// After an operand: closes as many parentheses as end here, then reads the operator that follows, if any is open.
    fn close_and_continue(&mut self, stack: &mut Vec<Frame>) -> Result<(), RichError> {
        while let Some(frame) = stack.last_mut() {
            self.skip_space();
            match self.peek() {
                None => return Err(self.error(RichErrorKind::Unterminated)),
                Some(b')') => {
                    let Some(frame) = stack.pop() else { return Ok(()) };
                    let (node, not_below_with) = self.close(frame)?;
                    self.position += 1;
                    if let Some(outer) = stack.last_mut() {
                        outer.operands.push(node);
                        outer.not_below_with |= not_below_with;
                    }
                }
                Some(_) => {
                    let operator = self.operator(&frame.operators)?;
                    frame.operators.push(operator);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Makes the node of a finished parenthesis.
    fn close(&mut self, frame: Frame) -> Result<(NodeId, bool), RichError> {
        let Frame { operands, operators, mut not_below_with } = frame;
        let (first, second, third) = (operands[0], operands.get(1).copied(), operands.get(2).copied());
        let (Some(operator), Some(second)) = (operators.first().copied(), second) else {
            return Ok((first, not_below_with));
        };
        if matches!(operator, Operator::With | Operator::Without) && not_below_with {
            return Err(self.error(RichErrorKind::IllegalInWith));
        }
        not_below_with |= !matches!(operator, Operator::With | Operator::Without | Operator::Or);
        self.nodes.push(match operator {
            Operator::And => Node::And(operands),
            Operator::Or => Node::Or(operands),
            Operator::With => Node::With(operands),
            Operator::Without => Node::Without { wanted: first, unwanted: second },
            Operator::If => Node::If { wanted: first, condition: second, otherwise: third },
            Operator::Unless => Node::Unless { wanted: first, condition: second, otherwise: third },
            Operator::Else => return Err(self.error(RichErrorKind::LoneElse)),
        });
        Ok((self.nodes.len() - 1, not_below_with))
    }

    fn operator(&mut self, before: &[Operator]) -> Result<Operator, RichError> {
        let rest = &self.text.as_bytes()[self.position..];
        let length = rest.iter().take_while(|byte| !is_space(**byte) && **byte != b')').count();
        let word = String::from_utf8_lossy(&rest[..length]);
        let Some(operator) = Operator::from_word(&word) else {
            let kind = RichErrorKind::UnknownOperator(word.chars().take(40).collect());
            return Err(self.error(kind));
        };
        match (before.last(), operator) {
            (None, Operator::Else) => return Err(self.error(RichErrorKind::LoneElse)),
            (None, _) | (Some(Operator::If | Operator::Unless), Operator::Else) => {}
            (Some(last), _) if *last != operator => return Err(self.error(RichErrorKind::MixedOperators)),
            (Some(_), Operator::And | Operator::Or | Operator::With) => {}
            (Some(_), _) => return Err(self.error(RichErrorKind::Repeated)),
        }
        self.position += length;
        Ok(operator)
    }

    /// `name` or `name operator evr`; the name may hold balanced parentheses.
    fn simple(&mut self) -> Result<NodeId, RichError> {
        let name = self.word().to_owned();
        let mut dependency = Dependency::any(name);
        let after_name = self.position;
        self.skip_space();
        if let Some(sense) = Sense::from_operator(self.word()) {
            self.skip_space();
            let version = self.word();
            if version.is_empty() {
                return Err(self.error(RichErrorKind::MissingVersion));
            }
            dependency.range = Some((sense, Evr::parse(version)));
        } else {
            self.position = after_name;
        }
        self.nodes.push(Node::Simple(dependency));
        Ok(self.nodes.len() - 1)
    }

    /// Takes bytes up to white space, a comma or a `)` that the word did not open.
    fn word(&mut self) -> &str {
        let start = self.position;
        let mut open = 0usize;
        while let Some(byte) = self.peek() {
            match byte {
                b',' => break,
                b')' if open == 0 => break,
                b')' => open -= 1,
                b'(' => open += 1,
                byte if is_space(byte) => break,
                _ => {}
            }
            self.position += 1;
        }
        &self.text[start..self.position]
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| is_space(byte) || byte == b',') {
            self.position += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn error(&self, kind: RichErrorKind) -> RichError {
        RichError { offset: self.position, kind }
    }
}

#[cfg(test)]
mod tests;
