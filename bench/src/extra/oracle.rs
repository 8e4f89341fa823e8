//! What can be asked of a corpus, and what a relay has to answer: the newest matches first, the lowest id first among those of
//! one instant, and no more than the limit. Finds the answer by looking at every event, so that it shares no idea and no
//! mistake with any index. Knows no relay.

use std::collections::HashMap;
use std::fmt;

use super::corpus::{Corpus, Dice, Fact};
use crate::notes::Id;

const IDS: usize = 10;
const FEED_AUTHORS: usize = 200;
const MONTH: u64 = 30 * 86_400;

/// The kinds of question in the mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    /// Ten events by id.
    Ids,
    /// An author's newest notes.
    AuthorKind,
    /// What refers to an event.
    E,
    /// Who mentioned somebody, lately.
    PSince,
    /// The newest of two hundred authors.
    Feed,
    /// The newest of a kind.
    Kinds,
    /// The newest of everything.
    Scan,
}

impl Class {
    pub(super) const ALL: [Self; 7] =
        [Self::Ids, Self::AuthorKind, Self::E, Self::PSince, Self::Feed, Self::Kinds, Self::Scan];
}

impl fmt::Display for Class {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ids => "ids",
            Self::AuthorKind => "author-kind",
            Self::E => "e",
            Self::PSince => "p-since",
            Self::Feed => "feed",
            Self::Kinds => "kinds",
            Self::Scan => "scan",
        })
    }
}

/// One filter. An empty or absent part asks for nothing in particular.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) class: Class,
    ids: Vec<Id>,
    authors: Vec<u32>,
    kinds: Vec<u16>,
    refers_to: Option<u32>,
    mentions: Option<u32>,
    since: Option<u64>,
    until: Option<u64>,
    pub(super) limit: usize,
}

impl Question {
    /// Question `number` of the mix: the classes take turns, and each asks for something that somebody might want, what
    /// is much talked of more often.
    pub(super) fn draw(corpus: &Corpus, seed: u64, number: usize) -> Self {
        let class = Class::ALL[number % Class::ALL.len()];
        let mut dice = Dice::new(!seed, number as u64);
        let mut question = Self {
            class,
            ids: Vec::new(),
            authors: Vec::new(),
            kinds: Vec::new(),
            refers_to: None,
            mentions: None,
            since: None,
            until: None,
            limit: 50,
        };
        let any = |dice: &mut Dice| &corpus.facts[dice.below(corpus.facts.len())];
        // Half of the pages are the first one, and half are further back.
        let page = |dice: &mut Dice| (dice.below(2) == 0).then(|| any(dice).created_at);
        match class {
            Class::Ids => {
                question.ids = (0..IDS).map(|_| any(&mut dice).id).collect();
                question.limit = IDS;
            }
            Class::AuthorKind => {
                question.authors = vec![any(&mut dice).author];
                question.kinds = vec![1];
            }
            Class::E => question.refers_to = told_of(corpus, &mut dice, |fact| fact.refers_to),
            Class::PSince => {
                question.mentions = told_of(corpus, &mut dice, |fact| fact.mentions);
                question.since = Some(any(&mut dice).created_at.saturating_sub(MONTH));
                question.limit = 100;
            }
            Class::Feed => {
                question.authors = (0..FEED_AUTHORS).map(|_| dice.skewed(corpus.authors.len()) as u32).collect();
                question.authors.sort_unstable();
                question.authors.dedup();
                question.kinds = vec![1, 6];
                question.limit = if dice.below(4) == 0 { 500 } else { 50 };
            }
            Class::Kinds => {
                question.kinds = [&[7][..], &[0], &[30_023], &[1, 6]][dice.below(4)].to_vec();
                question.until = page(&mut dice);
            }
            Class::Scan => {
                question.until = page(&mut dice);
                question.limit = 500;
            }
        }
        question
    }

    /// As the protocol writes it.
    pub(super) fn filter(&self, corpus: &Corpus) -> String {
        let author = |author: &u32| const_hex::encode(corpus.authors[*author as usize]);
        let mut parts = Vec::new();
        let mut list = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                parts.push(format!(r#""{name}":["{}"]"#, values.join(r#"",""#)));
            }
        };
        list("ids", self.ids.iter().map(const_hex::encode).collect());
        list("authors", self.authors.iter().map(author).collect());
        list("#e", self.refers_to.iter().map(|event| const_hex::encode(corpus.facts[*event as usize].id)).collect());
        list("#p", self.mentions.iter().map(author).collect());
        if !self.kinds.is_empty() {
            let kinds: Vec<String> = self.kinds.iter().map(u16::to_string).collect();
            parts.push(format!(r#""kinds":[{}]"#, kinds.join(",")));
        }
        parts.extend(self.since.map(|since| format!(r#""since":{since}"#)));
        parts.extend(self.until.map(|until| format!(r#""until":{until}"#)));
        parts.push(format!(r#""limit":{}"#, self.limit));
        format!("{{{}}}", parts.join(","))
    }

    fn matches(&self, corpus: &Corpus, number: u32, fact: &Fact) -> bool {
        let follows = || corpus.follows.get(&number).map(Vec::as_slice).unwrap_or_default();
        (self.ids.is_empty() || self.ids.contains(&fact.id))
            && (self.authors.is_empty() || self.authors.contains(&fact.author))
            && (self.kinds.is_empty() || self.kinds.contains(&fact.kind))
            && self.refers_to.is_none_or(|event| fact.refers_to == Some(event))
            && self.mentions.is_none_or(|author| fact.mentions == Some(author) || follows().contains(&author))
            && self.since.is_none_or(|since| fact.created_at >= since)
            && self.until.is_none_or(|until| fact.created_at <= until)
    }

    /// Every match, in the order of an answer, as if there were no limit.
    fn matching<'a>(&self, corpus: &'a Corpus) -> Vec<&'a Fact> {
        let numbered = (0..).zip(&corpus.facts);
        let mut found: Vec<&Fact> =
            numbered.filter(|(number, fact)| self.matches(corpus, *number, fact)).map(|(_, fact)| fact).collect();
        found.sort_unstable_by_key(|fact| (std::cmp::Reverse(fact.created_at), fact.id));
        found
    }
}

/// What somebody's event tells of, so that the popular is asked for more often.
fn told_of(corpus: &Corpus, dice: &mut Dice, of: impl Fn(&Fact) -> Option<u32>) -> Option<u32> {
    let start = dice.below(corpus.facts.len());
    corpus.facts[start..].iter().chain(&corpus.facts[..start]).find_map(of)
}

/// Why an answer is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Fewer than there are, and than the limit allows.
    Missing { expected: usize, answered: usize },
    /// More than the limit, beyond what shares the last instant.
    TooMany { limit: usize, answered: usize },
    /// An event that does not match, or is not the next newest.
    Misplaced { at: usize },
    /// The right instants, but not the lowest id first.
    TieOrder { at: usize },
}

/// Compares answers with the corpus.
pub(super) struct Oracle<'a> {
    corpus: &'a Corpus,
    numbers: HashMap<Id, u32>,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(corpus: &'a Corpus) -> Self {
        Self { corpus, numbers: corpus.facts.iter().map(|fact| fact.id).zip(0..).collect() }
    }

    /// `answer` is the ids in the order they came. Events that are not of the corpus, such as the relay's own, only use up
    /// the limit. A relay may finish the instant its limit cuts through (NIP-67).
    pub(super) fn judge(&self, question: &Question, answer: &[Id]) -> Result<(), Fault> {
        let ours: Vec<&Fact> =
            answer.iter().filter_map(|id| Some(&self.corpus.facts[*self.numbers.get(id)? as usize])).collect();
        let room = question.limit.saturating_sub(answer.len() - ours.len());
        let expected = question.matching(self.corpus);
        let due = expected.len().min(room);
        if ours.len() < due {
            return Err(Fault::Missing { expected: due, answered: ours.len() });
        }
        let mut tie = None;
        for (at, found) in ours.iter().enumerate() {
            let Some(wanted) = expected.get(at) else {
                return Err(Fault::Misplaced { at });
            };
            if at >= room && at > 0 && found.created_at != ours[at - 1].created_at {
                return Err(Fault::TooMany { limit: question.limit, answered: answer.len() });
            }
            if found.id != wanted.id {
                let is_among_ties = expected.iter().any(|fact| fact.id == found.id)
                    && found.created_at == wanted.created_at
                    && !ours[..at].iter().any(|earlier| earlier.id == found.id);
                if !is_among_ties {
                    return Err(Fault::Misplaced { at });
                }
                tie.get_or_insert(Fault::TieOrder { at });
            }
        }
        tie.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extra::corpus::Recipe;

    fn corpus() -> Corpus {
        Corpus::write(&Recipe { seed: 3, events: 4_000, until: 1_700_000_000 }, &mut std::io::sink()).expect("made")
    }

    /// What a faultless relay would answer.
    fn answer(corpus: &Corpus, question: &Question) -> Vec<Id> {
        question.matching(corpus).iter().take(question.limit).map(|fact| fact.id).collect()
    }

    #[test]
    fn the_right_answer_to_every_class_is_right_and_few_are_empty() {
        let corpus = corpus();
        let oracle = Oracle::new(&corpus);
        for number in 0..70 {
            let question = Question::draw(&corpus, 1, number);
            let answer = answer(&corpus, &question);
            assert_eq!(oracle.judge(&question, &answer), Ok(()), "{question:?}");
            assert!(!answer.is_empty() || question.class == Class::PSince, "{question:?}");
            serde_json::from_str::<serde_json::Value>(&question.filter(&corpus)).expect("JSON");
        }
    }

    /// The first question of a class with at least `matches` matches.
    fn question(corpus: &Corpus, class: Class, matches: usize) -> Question {
        let mut drawn = (0..700).map(|number| Question::draw(corpus, 1, number));
        drawn.find(|q| q.class == class && q.matching(corpus).len() >= matches).expect("a question with matches")
    }

    #[test]
    fn an_answer_cut_short_padded_or_shuffled_is_told() {
        let corpus = corpus();
        let oracle = Oracle::new(&corpus);
        let question = question(&corpus, Class::Feed, 60);
        let right = answer(&corpus, &question);
        let short = &right[..right.len() - 1];
        let expected = Fault::Missing { expected: right.len(), answered: right.len() - 1 };
        assert_eq!(oracle.judge(&question, short), Err(expected));
        let mut swapped = right.clone();
        swapped.swap(0, 40);
        assert_eq!(oracle.judge(&question, &swapped), Err(Fault::Misplaced { at: 0 }));
        let mut doubled = right.clone();
        doubled[1] = doubled[0];
        assert_eq!(oracle.judge(&question, &doubled), Err(Fault::Misplaced { at: 1 }));
        let stranger = corpus.facts.iter().find(|fact| fact.kind == 7).expect("a reaction");
        let mut strange = right;
        strange[0] = stranger.id;
        assert_eq!(oracle.judge(&question, &strange), Err(Fault::Misplaced { at: 0 }));
    }

    #[test]
    fn more_than_the_limit_is_wrong_but_for_the_last_instant() {
        let corpus = corpus();
        let oracle = Oracle::new(&corpus);
        let mut question = question(&corpus, Class::Scan, 600);
        let all = question.matching(&corpus);
        let tie = all.windows(2).position(|pair| pair[0].created_at == pair[1].created_at).expect("a tie") + 1;
        question.limit = tie;
        let ids = |count: usize| all[..count].iter().map(|fact| fact.id).collect::<Vec<_>>();
        assert_eq!(oracle.judge(&question, &ids(tie)), Ok(()));
        assert_eq!(oracle.judge(&question, &ids(tie + 1)), Ok(()), "the instant is finished");
        let too_many = Fault::TooMany { limit: tie, answered: tie + 2 };
        assert_eq!(oracle.judge(&question, &ids(tie + 2)), Err(too_many));
    }

    #[test]
    fn the_wrong_order_of_one_instant_is_told_from_a_wrong_event() {
        let corpus = corpus();
        let oracle = Oracle::new(&corpus);
        let question = question(&corpus, Class::Scan, 600);
        let mut answer = answer(&corpus, &question);
        let all = question.matching(&corpus);
        let tie = all.windows(2).position(|pair| pair[0].created_at == pair[1].created_at).expect("a tie");
        answer.swap(tie, tie + 1);
        assert_eq!(oracle.judge(&question, &answer), Err(Fault::TieOrder { at: tie }));
    }

    #[test]
    fn events_of_others_only_use_up_the_limit() {
        let corpus = corpus();
        let oracle = Oracle::new(&corpus);
        let question = question(&corpus, Class::Scan, 600);
        let mut answer = answer(&corpus, &question);
        answer.insert(0, [9; 32]);
        answer.pop();
        assert_eq!(oracle.judge(&question, &answer), Ok(()));
        answer.pop();
        assert!(oracle.judge(&question, &answer).is_err());
    }
}
