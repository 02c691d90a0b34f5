//! The search itself. Not recursive: a history may have many thousands of operations.

use std::collections::HashMap;
use std::time::Duration;

use super::{Budget, Model, OperationOf, Stuck, Verdict, Violation};
use bits::Bits;
use timeline::Timeline;

mod bits;
mod timeline;

/// Where the next candidate is looked for.
#[derive(Clone, Copy)]
enum Cursor {
    /// Among those with an answer, from this event on.
    Known(u32),
    /// Among the unknown that were called by then, from this one on.
    Unknown(u32, Duration),
    /// Nothing is left to try.
    Nowhere,
}

/// An operation of the search.
#[derive(Clone, Copy)]
enum Place {
    Known(u32),
    Unknown(u32),
}

/// A step that was taken.
struct Frame<S> {
    place: Place,
    before: S,
    /// Other states that it could have led to.
    rest: Vec<S>,
    /// What would have been tried next instead.
    after: Cursor,
    forced: bool,
}

/// What was placed of those with an answer, and the state.
type Configuration<S> = (Box<[u64]>, S);

pub(super) struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [OperationOf<M>],
    budget: Budget,
    known: Timeline,
    unknown: Unknowns,
    placed: Bits,
    used: Bits,
    stack: Vec<Frame<M::State>>,
    /// With the sets of unknown ones that had been used, none of them part of another.
    seen: HashMap<Configuration<M::State>, Vec<Box<[u64]>>>,
    best: Vec<usize>,
    best_known: usize,
    best_state: M::State,
    steps: u64,
}

/// Unknown operations in the order of their calls, as a list out of which the used are taken.
struct Unknowns {
    operations: Vec<usize>,
    call: Vec<Duration>,
    /// The one called before it that asks for the same.
    equal_before: Vec<Option<u32>>,
    list: timeline::Links,
}

impl Unknowns {
    fn new<M: Model>(model: &M, operations: &[OperationOf<M>]) -> Self {
        let unknown = |at: &usize| {
            let one = &operations[*at];
            one.ends().is_none() && !model.observes(&one.input, &one.outcome)
        };
        let mut order: Vec<usize> = (0..operations.len()).filter(unknown).collect();
        order.sort_by_key(|at| operations[*at].call);
        let mut last = HashMap::new();
        let equal_before = (0u32..)
            .zip(&order)
            .map(|(number, at)| match operations[*at].outcome {
                crate::history::Outcome::Unknown => last.insert(&operations[*at].input, number),
                _ => None,
            })
            .collect();
        Self {
            call: order.iter().map(|at| operations[*at].call).collect(),
            equal_before,
            list: timeline::Links::new(order.len()),
            operations: order,
        }
    }
}

impl<'a, M: Model> Search<'a, M> {
    pub(super) fn new(model: &'a M, operations: &'a [OperationOf<M>], budget: Budget) -> Self {
        let spans = operations.iter().enumerate();
        let known = Timeline::new(
            spans
                .filter_map(|(at, one)| Some((at, one.call, one.ends()?)))
                .collect(),
        );
        let unknown = Unknowns::new(model, operations);
        Self {
            model,
            operations,
            budget,
            placed: Bits::new(known.len()),
            used: Bits::new(unknown.operations.len()),
            known,
            unknown,
            stack: Vec::new(),
            seen: HashMap::new(),
            best: Vec::new(),
            best_known: 0,
            best_state: model.start(),
            steps: 0,
        }
    }

    pub(super) fn run(mut self) -> Verdict {
        let mut state = self.model.start();
        let mut cursor = self.beginning();
        loop {
            if self.known.is_empty() {
                let (order, steps) = (self.order(), self.steps);
                return Verdict::Linearizable { order, steps };
            }
            if let Some((place, after)) = self.candidate(cursor) {
                if self.steps >= self.budget.steps {
                    self.note_best(&state);
                    let (order, steps) = (self.best, self.steps);
                    return Verdict::Unknown { order, steps };
                }
                cursor = match self.forward(place, after, &mut state) {
                    Some(cursor) => cursor,
                    None => after,
                };
            } else {
                self.note_best(&state);
                match self.backward(&mut state) {
                    Some(next) => cursor = next,
                    None => return self.violation(),
                }
            }
        }
    }

    fn beginning(&self) -> Cursor {
        Cursor::Known(self.known.first())
    }

    /// The next operation that may come now: called before anything that is not placed returned.
    fn candidate(&self, mut cursor: Cursor) -> Option<(Place, Cursor)> {
        loop {
            match cursor {
                Cursor::Known(event) => match self.known.call_of(event) {
                    Some(number) => return Some((Place::Known(number), Cursor::Known(self.known.after(event)))),
                    None => cursor = Cursor::Unknown(self.unknown.list.first(), self.known.time(event)),
                },
                Cursor::Unknown(node, until) => {
                    let number = timeline::Links::item(node)?;
                    if self.unknown.call[number as usize] > until {
                        return None;
                    }
                    let after = Cursor::Unknown(self.unknown.list.after(node), until);
                    let equal_before = self.unknown.equal_before[number as usize];
                    if equal_before.is_none_or(|other| self.used.has(other)) {
                        return Some((Place::Unknown(number), after));
                    }
                    cursor = after;
                }
                Cursor::Nowhere => return None,
            }
        }
    }

    /// Places an operation, if that leads to anything new; then the search begins from there.
    fn forward(&mut self, place: Place, after: Cursor, state: &mut M::State) -> Option<Cursor> {
        self.steps += 1;
        let operation = &self.operations[self.index(place)];
        let mut rest = self.model.step(state, &operation.input, &operation.outcome).ok()?;
        let forced = matches!(place, Place::Known(_))
            && rest.len() == 1
            && rest[0] == *state
            && self.model.observes(&operation.input, &operation.outcome);
        self.lift(place);
        let Some(next) = self.unseen(&mut rest) else {
            self.put_back(place);
            return forced.then_some(Cursor::Nowhere);
        };
        self.stack.push(Frame {
            place,
            before: std::mem::replace(state, next),
            rest,
            after,
            forced,
        });
        Some(self.beginning())
    }

    /// Takes steps back, up to one that leaves something else to try.
    fn backward(&mut self, state: &mut M::State) -> Option<Cursor> {
        loop {
            let mut frame = self.stack.pop()?;
            if let Some(next) = self.unseen(&mut frame.rest) {
                *state = next;
                self.stack.push(frame);
                return Some(self.beginning());
            }
            self.put_back(frame.place);
            *state = frame.before;
            if !frame.forced {
                return Some(frame.after);
            }
        }
    }

    /// Takes the first of these states in which the search has not been yet with what is placed now, and remembers it.
    fn unseen(&mut self, states: &mut Vec<M::State>) -> Option<M::State> {
        while !states.is_empty() {
            let state = states.remove(0);
            let used = self.used.all();
            let before = self.seen.entry((self.placed.window(), state.clone())).or_default();
            if before.iter().any(|other| bits::part_of(other, &used)) {
                continue;
            }
            before.retain(|other| !bits::part_of(&used, other));
            before.push(used);
            return Some(state);
        }
        None
    }

    fn index(&self, place: Place) -> usize {
        match place {
            Place::Known(number) => self.known.operation(number),
            Place::Unknown(number) => self.unknown.operations[number as usize],
        }
    }

    fn lift(&mut self, place: Place) {
        match place {
            Place::Known(number) => {
                self.known.lift(number);
                self.placed.set(number);
            }
            Place::Unknown(number) => {
                self.unknown.list.lift(number);
                self.used.set(number);
            }
        }
    }

    fn put_back(&mut self, place: Place) {
        match place {
            Place::Known(number) => {
                self.known.put_back(number);
                self.placed.clear(number);
            }
            Place::Unknown(number) => {
                self.unknown.list.put_back(number);
                self.used.clear(number);
            }
        }
    }

    fn order(&self) -> Vec<usize> {
        self.stack.iter().map(|frame| self.index(frame.place)).collect()
    }

    fn note_best(&mut self, state: &M::State) {
        let known = self.placed.count();
        if known > self.best_known {
            self.best = self.order();
            (self.best_known, self.best_state) = (known, state.clone());
        }
    }

    /// Everything has been tried. All is put back: what the best order leaves over is what did not fit.
    fn violation(mut self) -> Verdict {
        let placed: std::collections::HashSet<usize> = self.best.iter().copied().collect();
        for number in 0..self.known.len() as u32 {
            if placed.contains(&self.known.operation(number)) {
                self.lift(Place::Known(number));
            }
        }
        for number in 0..self.unknown.operations.len() as u32 {
            if placed.contains(&self.unknown.operations[number as usize]) {
                self.lift(Place::Unknown(number));
            }
        }
        let (mut stuck, mut known, mut cursor) = (Vec::new(), 0, self.beginning());
        while let Some((place, after)) = self.candidate(cursor) {
            let operation = self.index(place);
            let one = &self.operations[operation];
            known += usize::from(matches!(place, Place::Known(_)));
            let why = match self.model.step(&self.best_state, &one.input, &one.outcome) {
                Err(why) => why,
                Ok(_) => "it would fit, but then less of the others than without it".to_owned(),
            };
            stuck.push(Stuck { operation, why });
            cursor = after;
        }
        Verdict::Violation(Violation {
            stuck,
            state: self.model.state_words(&self.best_state),
            later: self.known.len() - self.best_known - known,
            order: self.best,
            steps: self.steps,
        })
    }
}
