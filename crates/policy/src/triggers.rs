//! What a training may rest on, and how the causes are combined: `any`, `all`, or an expression such as
//! `schedule or (drift and performance)`.
//!
//! `not` binds tighter than `and`, `and` tighter than `or`. A person's request and the 30 days are no part of it: they
//! always count.
//!
//! It is not: the place that says whether a cause is there (`decide`).

use std::fmt;

use thiserror::Error;

/// Longest expression in bytes: longer ones are a mistake, and it bounds the time to read one.
const MAX_LEN: usize = 500;
/// Deepest nesting: it bounds the reader's stack.
const MAX_DEPTH: usize = 16;
/// Before an event's name.
const EVENT: &str = "event:";

/// One cause of a training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// The schedule is due.
    Schedule,
    /// The drift alarm is up.
    Drift,
    /// The accuracy is below its limit.
    Performance,
    /// The share of drifted metrics is above its limit.
    Share,
    /// A person asked.
    Manual,
    /// An event of this name came after the last training was decided.
    Event(String),
    /// One of any name did; it is what `any` asks, and cannot be written.
    AnyEvent,
}

/// Where an expression cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{problem} at character {at}; write any, all, or schedule, drift, performance, share, manual and event:NAME with and, or, not and parentheses"
)]
pub struct TriggersError {
    /// Counted from 1.
    pub at: usize,
    /// What is wrong there.
    pub problem: String,
}

/// How the causes are combined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triggers {
    text: String,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Any,
    All,
    Holds(Node),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Is(Trigger),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
}

impl Default for Triggers {
    /// Drift.
    fn default() -> Self {
        Triggers {
            text: "drift".to_owned(),
            rule: Rule::Holds(Node::Is(Trigger::Drift)),
        }
    }
}

impl fmt::Display for Triggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Triggers {
    /// Reads `any`, `all` or an expression.
    ///
    /// # Errors
    /// Where it is wrong, and what may be written.
    pub fn parse(text: &str) -> Result<Triggers, TriggersError> {
        if text.len() > MAX_LEN {
            let problem = format!("longer than {MAX_LEN} bytes");
            return Err(TriggersError {
                at: MAX_LEN + 1,
                problem,
            });
        }
        let rule = match text.trim() {
            "any" => Rule::Any,
            "all" => Rule::All,
            _ => Rule::Holds(Reader::new(text).whole()?),
        };
        Ok(Triggers {
            text: text.trim().to_owned(),
            rule,
        })
    }

    /// Whether they hold. `scheduled` says whether there is a schedule: without one, `all` does not ask for it.
    pub(crate) fn hold(&self, scheduled: bool, is: &dyn Fn(&Trigger) -> bool) -> bool {
        let measured = [Trigger::Drift, Trigger::Performance, Trigger::Share];
        match &self.rule {
            Rule::Any => {
                measured.iter().any(is) || is(&Trigger::Schedule) || is(&Trigger::AnyEvent)
            }
            Rule::All => measured.iter().all(is) && (!scheduled || is(&Trigger::Schedule)),
            Rule::Holds(node) => node.holds(is),
        }
    }

    /// Whether a schedule has a say: one that is named must be there, one that is there must be named.
    #[must_use]
    pub fn use_schedule(&self) -> bool {
        match &self.rule {
            Rule::Any | Rule::All => true,
            Rule::Holds(node) => node.names(&Trigger::Schedule),
        }
    }

    /// Whether `schedule` is written out, so that it cannot hold without one.
    #[must_use]
    pub fn need_schedule(&self) -> bool {
        matches!(&self.rule, Rule::Holds(node) if node.names(&Trigger::Schedule))
    }

    /// Whether an event of this name is asked for.
    #[must_use]
    pub fn name_event(&self, name: &str) -> bool {
        match &self.rule {
            Rule::Any => true,
            Rule::All => false,
            Rule::Holds(node) => node.names(&Trigger::Event(name.to_owned())),
        }
    }
}

impl Node {
    fn holds(&self, is: &dyn Fn(&Trigger) -> bool) -> bool {
        match self {
            Node::Is(trigger) => is(trigger),
            Node::Not(inner) => !inner.holds(is),
            Node::And(a, b) => a.holds(is) && b.holds(is),
            Node::Or(a, b) => a.holds(is) || b.holds(is),
        }
    }

    fn names(&self, trigger: &Trigger) -> bool {
        match self {
            Node::Is(named) => named == trigger,
            Node::Not(inner) => inner.names(trigger),
            Node::And(a, b) | Node::Or(a, b) => a.names(trigger) || b.names(trigger),
        }
    }
}

/// Recursive descent over words and parentheses.
struct Reader<'a> {
    /// Words with where they begin, in characters from 1.
    words: Vec<(usize, &'a str)>,
    next: usize,
    /// Behind the last character.
    end: usize,
    depth: usize,
}

type Read = Result<Node, TriggersError>;

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Reader<'a> {
        let mut words = Vec::new();
        let mut begun: Option<(usize, usize)> = None;
        let mut at = 0;
        for (byte, c) in text.char_indices() {
            at += 1;
            let ends = c.is_whitespace() || matches!(c, '(' | ')');
            if ends && let Some((from, since)) = begun.take() {
                words.push((since, &text[from..byte]));
            }
            if matches!(c, '(' | ')') {
                words.push((at, &text[byte..=byte]));
            } else if !ends && begun.is_none() {
                begun = Some((byte, at));
            }
        }
        if let Some((from, since)) = begun {
            words.push((since, &text[from..]));
        }
        Reader {
            words,
            next: 0,
            end: at + 1,
            depth: 0,
        }
    }

    fn whole(&mut self) -> Read {
        let node = self.either()?;
        match self.peek() {
            None => Ok(node),
            Some((at, word)) => Err(TriggersError {
                at,
                problem: format!("unexpected {word:?}"),
            }),
        }
    }

    fn either(&mut self) -> Read {
        let mut node = self.both()?;
        while self.take("or") {
            node = Node::Or(Box::new(node), Box::new(self.both()?));
        }
        Ok(node)
    }

    fn both(&mut self) -> Read {
        let mut node = self.one()?;
        while self.take("and") {
            node = Node::And(Box::new(node), Box::new(self.one()?));
        }
        Ok(node)
    }

    fn one(&mut self) -> Read {
        let Some((at, word)) = self.peek() else {
            return Err(TriggersError {
                at: self.end,
                problem: "a cause is missing".to_owned(),
            });
        };
        self.next += 1;
        if !matches!(word, "not" | "(") {
            return cause(at, word).map(Node::Is);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let problem = format!("nested more than {MAX_DEPTH} deep");
            return Err(TriggersError { at, problem });
        }
        let node = if word == "not" {
            Node::Not(Box::new(self.one()?))
        } else {
            let inner = self.either()?;
            if !self.take(")") {
                let at = self.peek().map_or(self.end, |(at, _)| at);
                return Err(TriggersError {
                    at,
                    problem: "\")\" is missing".to_owned(),
                });
            }
            inner
        };
        self.depth -= 1;
        Ok(node)
    }

    fn peek(&self) -> Option<(usize, &'a str)> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.peek().is_some_and(|(_, next)| next == word);
        self.next += usize::from(is_next);
        is_next
    }
}

fn cause(at: usize, word: &str) -> Result<Trigger, TriggersError> {
    if let Some(name) = word.strip_prefix(EVENT).filter(|name| !name.is_empty()) {
        return Ok(Trigger::Event(name.to_owned()));
    }
    Ok(match word {
        "schedule" => Trigger::Schedule,
        "drift" => Trigger::Drift,
        "performance" => Trigger::Performance,
        "share" => Trigger::Share,
        "manual" => Trigger::Manual,
        _ => {
            let problem = format!("unexpected {word:?}");
            return Err(TriggersError { at, problem });
        }
    })
}

/// The name in a request's trigger, where the request is an event's and not a person's.
pub(crate) fn event_name(trigger: &str) -> Option<&str> {
    trigger.strip_prefix(EVENT).filter(|name| !name.is_empty())
}
