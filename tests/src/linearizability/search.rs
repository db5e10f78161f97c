//! The search for the moments of one part.
//!
//! A configuration is which operations have had their moment, and the state. From each, every operation may be next
//! whose call is before the first return that is still owed. Four things keep that small:
//!
//! - A configuration is entered once. Which operations are done is kept as a fingerprint of 128 bits, so that a long
//!   history costs no more memory a step than a short one.
//! - A read that fits is next without alternative: it does no harm now and no good later.
//! - Of operations with unknown outcome and the same input only the one that was called first is tried: what another
//!   could do, it could do as well.
//! - A configuration is not entered if it was entered before with fewer operations of unknown outcome spent: what is
//!   possible now was possible then. So that those with fewer come first, the ones between two operations that returned
//!   are searched in breadth, and all else in depth.

use super::{Model, Operation, Outcome};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

pub(super) enum Found<S> {
    Order,
    Nothing { order: Vec<usize>, state: S, stuck: usize },
    GaveUp,
}

/// How many of each class of operations with unknown outcome were given a moment; classes without any are left out.
type Spent = Rc<[(usize, usize)]>;

/// A state that is reached after the same operations that returned as others of its frame.
struct Node<S> {
    state: S,
    spent: Spent,
    /// The classes of those spent since the last operation that returned.
    since: Vec<usize>,
}

/// All configurations with the same operations that returned.
struct Frame<S> {
    /// The last of them, and the classes spent before it.
    made: Option<(Vec<usize>, usize)>,
    /// The state before any more is spent, and how much was.
    state: S,
    spent: usize,
    queue: VecDeque<Node<S>>,
    /// Where the choices lead from.
    at: (Spent, Vec<usize>),
    choices: Vec<(usize, S)>,
    /// The same, if it matters where those of unknown outcome lead from there.
    unspent: Option<Node<S>>,
}

/// The frame that came furthest.
struct Best<S> {
    left: usize,
    spent: usize,
    order: Vec<usize>,
    state: S,
    stuck: usize,
}

struct Search<'a, M: Model> {
    operations: &'a [Operation<M>],
    /// Positions in `operations`, in the order of calls, of those that returned.
    known: Vec<usize>,
    /// A list of those in `known` without a moment: 0 is before the first, and others are one higher than in `known`.
    next: Vec<usize>,
    previous: Vec<usize>,
    left: usize,
    /// Positions in `operations` of those with unknown outcome, by equal inputs, in the order of calls.
    classes: Vec<Vec<usize>>,
    fingerprint: u128,
    seen: HashMap<(u128, M::State), Vec<Spent>>,
}

/// `operations` are in the order of their calls.
pub(super) fn search<M: Model>(operations: &[Operation<M>], steps_left: &mut u64) -> Found<M::State> {
    let mut search = Search::new(operations);
    if search.left == 0 {
        return Found::Order;
    }
    let mut frames = vec![Frame::new(None, M::initial(), Rc::from([]))];
    let mut best: Option<Best<M::State>> = None;
    while let Some(frame) = frames.last_mut() {
        if *steps_left == 0 {
            return Found::GaveUp;
        }
        *steps_left -= 1;
        if let Some((known, state)) = frame.choices.pop() {
            search.make(known);
            if search.left == 0 {
                return Found::Order;
            }
            let (spent, since) = frame.at.clone();
            if search.enter(&state, &spent) {
                frames.push(Frame::new(Some((since, known)), state, spent));
            } else {
                search.undo(known);
            }
        } else if let Some(node) = frame.unspent.take() {
            search.spend(&node, &mut frame.queue);
        } else if let Some(node) = frame.queue.pop_front() {
            frame.choices = search.choices(&node.state);
            frame.at = (Rc::clone(&node.spent), node.since.clone());
            let is_read = |(known, _): &(usize, M::State)| M::is_read(search.input(*known));
            frame.unspent = (!frame.choices.iter().any(is_read)).then_some(node);
        } else {
            let is_further = |best: &Best<M::State>| (search.left, frame.spent) < (best.left, best.spent);
            if best.as_ref().is_none_or(is_further) {
                let (left, spent, state) = (search.left, frame.spent, frame.state.clone());
                best = Some(Best { left, spent, order: search.order(&frames), state, stuck: search.first_owed() });
            }
            if let Some(Frame { made: Some((_, known)), .. }) = frames.pop() {
                search.undo(known);
            }
        }
    }
    match best {
        Some(Best { order, state, stuck, .. }) => Found::Nothing { order, state, stuck },
        None => Found::GaveUp,
    }
}

impl<S: Clone> Frame<S> {
    fn new(made: Option<(Vec<usize>, usize)>, state: S, spent: Spent) -> Frame<S> {
        let at = (Rc::clone(&spent), Vec::new());
        let count = spent.iter().map(|(_, count)| count).sum();
        let first = Node { state: state.clone(), spent, since: Vec::new() };
        Frame { made, state, spent: count, queue: VecDeque::from([first]), at, choices: Vec::new(), unspent: None }
    }
}

impl<'a, M: Model> Search<'a, M> {
    fn new(operations: &'a [Operation<M>]) -> Search<'a, M> {
        let mut known = Vec::new();
        let mut classes: Vec<Vec<usize>> = Vec::new();
        let mut class_of: HashMap<&M::Input, usize> = HashMap::new();
        for (position, operation) in operations.iter().enumerate() {
            match operation.outcome {
                Outcome::Returned { .. } => known.push(position),
                Outcome::Unknown => {
                    let class = *class_of.entry(&operation.input).or_insert(classes.len());
                    if class == classes.len() {
                        classes.push(Vec::new());
                    }
                    classes[class].push(position);
                }
                Outcome::Refused => {}
            }
        }
        let ends = known.len() + 1;
        Search {
            operations,
            next: (1..=ends).chain([0]).collect(),
            previous: [ends].into_iter().chain(0..ends).collect(),
            left: known.len(),
            known,
            classes,
            fingerprint: 0,
            seen: HashMap::new(),
        }
    }

    fn returned(&self, known: usize) -> (&M::Output, u64) {
        match &self.operations[self.known[known]].outcome {
            Outcome::Returned { output, at } => (output, *at),
            Outcome::Unknown | Outcome::Refused => unreachable!("only those that returned are known"),
        }
    }

    /// Those without a moment that were called before any of them returned, and when that was.
    fn open(&self) -> (Vec<usize>, u64) {
        let (mut open, mut first_return) = (Vec::new(), u64::MAX);
        let mut at = self.next[0];
        while at <= self.known.len() {
            let known = at - 1;
            // At the same time counts as not after: it is for the system to be wrong without doubt.
            if self.operations[self.known[known]].called > first_return {
                break;
            }
            first_return = first_return.min(self.returned(known).1);
            open.push(known);
            at = self.next[at];
        }
        (open, first_return)
    }

    fn input(&self, known: usize) -> &M::Input {
        &self.operations[self.known[known]].input
    }

    /// Which operations that returned may be next, the last to be tried first.
    fn choices(&self, state: &M::State) -> Vec<(usize, M::State)> {
        let mut choices = Vec::new();
        for known in self.open().0 {
            let (next, output) = M::step(state, self.input(known));
            if output != *self.returned(known).0 {
                continue;
            }
            if M::is_read(self.input(known)) {
                return vec![(known, next)];
            }
            choices.push((known, next));
        }
        choices.reverse();
        choices
    }

    /// Adds to `queue` where operations of unknown outcome lead.
    fn spend(&mut self, node: &Node<M::State>, queue: &mut VecDeque<Node<M::State>>) {
        let (_, first_return) = self.open();
        for class in 0..self.classes.len() {
            let Some(operation) = self.classes[class].get(count(&node.spent, class)) else { continue };
            let operation = &self.operations[*operation];
            if operation.called > first_return {
                continue;
            }
            let (state, _) = M::step(&node.state, &operation.input);
            let spent = with(&node.spent, class);
            if state != node.state && self.enter(&state, &spent) {
                let since = node.since.iter().copied().chain([class]).collect();
                queue.push_back(Node { state, spent, since });
            }
        }
    }

    fn make(&mut self, known: usize) {
        let (before, after) = (self.previous[known + 1], self.next[known + 1]);
        self.next[before] = after;
        self.previous[after] = before;
        self.left -= 1;
        self.fingerprint ^= fingerprint(known);
    }

    /// Of the last that was made and not undone.
    fn undo(&mut self, known: usize) {
        let (before, after) = (self.previous[known + 1], self.next[known + 1]);
        self.next[before] = known + 1;
        self.previous[after] = known + 1;
        self.left += 1;
        self.fingerprint ^= fingerprint(known);
    }

    /// Whether it may lead to the end and was not entered before with as few spent.
    fn enter(&mut self, state: &M::State, spent: &Spent) -> bool {
        let is_past = |known: &usize| M::is_past(state, self.input(*known), self.returned(*known).0);
        if self.open().0.iter().any(is_past) {
            return false;
        }
        let entered = self.seen.entry((self.fingerprint, state.clone())).or_default();
        if entered.iter().any(|before| is_within(before, spent)) {
            return false;
        }
        entered.retain(|before| !is_within(spent, before));
        entered.push(Rc::clone(spent));
        true
    }

    /// The one of those without a moment that returned first.
    fn first_owed(&self) -> usize {
        let (open, first_return) = self.open();
        let first = open.into_iter().find(|known| self.returned(*known).1 == first_return);
        self.known[first.expect("some are left")]
    }

    fn order(&self, frames: &[Frame<M::State>]) -> Vec<usize> {
        let mut spent = vec![0; self.classes.len()];
        let mut order = Vec::new();
        for (classes, known) in frames.iter().filter_map(|frame| frame.made.as_ref()) {
            for class in classes {
                order.push(self.classes[*class][spent[*class]]);
                spent[*class] += 1;
            }
            order.push(self.known[*known]);
        }
        order
    }
}

fn count(spent: &Spent, class: usize) -> usize {
    spent.binary_search_by_key(&class, |(class, _)| *class).map_or(0, |at| spent[at].1)
}

/// One more of a class.
fn with(spent: &Spent, class: usize) -> Spent {
    let mut spent = spent.to_vec();
    match spent.binary_search_by_key(&class, |(class, _)| *class) {
        Ok(at) => spent[at].1 += 1,
        Err(at) => spent.insert(at, (class, 1)),
    }
    spent.into()
}

fn is_within(few: &Spent, many: &Spent) -> bool {
    few.iter().all(|(class, needed)| count(many, *class) >= *needed)
}

/// As good as random, and different for each: SplitMix64 twice.
fn fingerprint(of: usize) -> u128 {
    let mix = |seed: u64| {
        let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u128::from(z ^ (z >> 31))
    };
    let seed = 2 * of as u64;
    mix(seed) << 64 | mix(seed + 1)
}
