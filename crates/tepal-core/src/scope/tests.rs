//! The forest against a model that is the rule itself, read from the roots at every question.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NEVER: f64 = f64::INFINITY;

fn opening(shielded: bool) -> Opening {
    Opening {
        shielded,
        cancelled: false,
        deadline: NEVER,
    }
}

#[test]
fn a_cancelled_scope_reaches_what_is_inside_and_nothing_around() {
    let mut forest = Forest::new();
    let (outer, task) = forest.enter(None, 'a', opening(false));
    let (inner, _) = forest.enter(Some(task), 'a', opening(false));
    let other = forest.join(outer, 'b');
    assert_eq!(forest.cancel(inner), [('a', true)]);
    assert!(!forest.is_effectively_cancelled(outer));
    assert!(!forest.is_cancelled_from_outside(inner));
    assert_eq!(forest.cancel(inner), [], "only once");
    assert_eq!(forest.exit(task, inner), Ok((Some(outer), vec![])));
    assert!(!forest.is_effectively_cancelled(outer));
    assert_eq!(forest.exit(task, outer), Ok((None, vec![])));
    assert_eq!(forest.len(), 1, "the other task is inside");
    assert_eq!(forest.leave(other), 'b');
    assert!(forest.is_empty());
}

#[test]
fn a_shield_holds_off_what_comes_from_outside_and_may_be_lifted() {
    let mut forest = Forest::new();
    let (outer, task) = forest.enter(None, 'a', opening(false));
    let (shield, _) = forest.enter(Some(task), 'a', opening(true));
    assert_eq!(forest.cancel(outer), []);
    assert_eq!(forest.shield(shield, false), [('a', true)]);
    assert!(forest.is_cancelled_from_outside(shield));
    assert_eq!(forest.shield(shield, true), [('a', false)]);
    assert_eq!(forest.cancel(shield), [('a', true)]);
    assert!(!forest.is_cancelled_from_outside(shield));
}

#[test]
fn the_effective_deadline_is_the_least_up_to_the_shield() {
    let mut forest = Forest::new();
    let at = |deadline, shielded| Opening {
        deadline,
        ..opening(shielded)
    };
    let (first, task) = forest.enter(None, 'a', at(1.0, false));
    let (second, _) = forest.enter(Some(task), 'a', at(5.0, true));
    let (third, _) = forest.enter(Some(task), 'a', at(7.0, false));
    assert_eq!(forest.effective_deadline(third), 5.0);
    forest.set_deadline(second, 9.0);
    assert_eq!(forest.effective_deadline(third), 7.0);
    assert_eq!(forest.shield(second, false), []);
    assert_eq!(forest.effective_deadline(third), 1.0);
    let _reached = forest.cancel(first);
    assert_eq!(forest.effective_deadline(third), f64::NEG_INFINITY);
}

#[test]
fn leaving_another_scope_than_the_innermost_changes_nothing() {
    let mut forest = Forest::new();
    let (outer, task) = forest.enter(None, 'a', opening(false));
    let (inner, _) = forest.enter(Some(task), 'a', opening(false));
    assert_eq!(forest.exit(task, outer), Err(Misnested));
    assert_eq!(forest.exit(task, inner), Ok((Some(outer), vec![])));
    assert_eq!(forest.exit(task, outer), Ok((None, vec![])));
    assert!(forest.is_empty());
}

/// The rule, and nothing else.
#[derive(Clone, Default)]
struct Model {
    /// By the order of opening: the scope around it, its shield, whether it was cancelled itself, its deadline.
    scopes: BTreeMap<usize, (Option<usize>, bool, bool, f64)>,
    /// The innermost scope of each task; each task's number is its name.
    tasks: BTreeMap<usize, usize>,
}

impl Model {
    fn effective(&self, scope: usize) -> bool {
        let (outer, shielded, cancelled, _) = self.scopes[&scope];
        cancelled || (!shielded && outer.is_some_and(|outer| self.effective(outer)))
    }

    fn deadline(&self, scope: usize) -> f64 {
        if self.effective(scope) {
            return f64::NEG_INFINITY;
        }
        let (outer, shielded, _, deadline) = self.scopes[&scope];
        match outer {
            Some(outer) if !shielded => deadline.min(self.deadline(outer)),
            _ => deadline,
        }
    }

    fn flags(&self) -> BTreeMap<usize, bool> {
        let tasks = self.tasks.iter();
        tasks
            .map(|(task, scope)| (*task, self.effective(*scope)))
            .collect()
    }

    fn is_empty(&self, scope: usize) -> bool {
        let inside = |around: &Option<usize>| *around == Some(scope);
        !self.tasks.values().any(|one| *one == scope)
            && !self.scopes.values().any(|(around, ..)| inside(around))
    }

    /// Closes a scope; whether it lingers.
    fn close(&mut self, scope: usize) -> bool {
        let (outer, ..) = self.scopes[&scope];
        if outer.is_none() && !self.is_empty(scope) {
            self.scopes.get_mut(&scope).unwrap().3 = NEVER;
            return true;
        }
        self.scopes.remove(&scope);
        for (around, ..) in self.scopes.values_mut() {
            if *around == Some(scope) {
                *around = outer;
            }
        }
        if let Some(outer) = outer {
            for innermost in self.tasks.values_mut() {
                if *innermost == scope {
                    *innermost = outer;
                }
            }
        }
        false
    }
}

/// The forest and the model side by side, under one set of names.
#[derive(Default)]
struct Pair {
    model: Model,
    forest: Forest<usize>,
    scopes: BTreeMap<usize, ScopeKey>,
    lingering: BTreeMap<usize, ScopeKey>,
    tasks: BTreeMap<usize, MemberKey>,
    /// What the border would have told each task last.
    told: BTreeMap<usize, bool>,
    names: usize,
}

impl Pair {
    fn name(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    fn scope(&self, choice: usize) -> Option<usize> {
        let count = self.scopes.len();
        (count > 0).then(|| *self.scopes.keys().nth(choice % count).unwrap())
    }

    fn task(&self, choice: usize) -> Option<usize> {
        let count = self.model.tasks.len();
        (count > 0).then(|| *self.model.tasks.keys().nth(choice % count).unwrap())
    }

    /// Closed scopes with nothing inside go, from the innermost on.
    fn prune(&mut self) {
        while let Some(gone) = self
            .lingering
            .keys()
            .copied()
            .find(|one| self.model.is_empty(*one))
        {
            self.lingering.remove(&gone);
            self.model.scopes.remove(&gone);
        }
    }

    fn key(&self, scope: usize) -> ScopeKey {
        *self
            .scopes
            .get(&scope)
            .unwrap_or_else(|| &self.lingering[&scope])
    }

    fn tell(&mut self, changes: Vec<Change<usize>>) {
        for (task, is_cancelled) in changes {
            let told = self.told.insert(task, is_cancelled);
            assert_eq!(told, Some(!is_cancelled), "told of what it knew");
        }
    }

    /// A task enters a scope: what it is told then is what the scope says.
    fn enter(&mut self, task: Option<usize>, opening: Opening) {
        let scope = self.name();
        let name = task.unwrap_or_else(|| self.name());
        let outer = task.map(|task| self.model.tasks[&task]);
        let known = task.map(|task| self.tasks[&task]);
        let (key, member) = self.forest.enter(known, name, opening);
        let entry = (outer, opening.shielded, opening.cancelled, opening.deadline);
        self.model.scopes.insert(scope, entry);
        self.model.tasks.insert(name, scope);
        self.scopes.insert(scope, key);
        self.tasks.insert(name, member);
        self.told
            .insert(name, self.forest.is_effectively_cancelled(key));
    }

    fn step(&mut self, operation: u8, one: usize, other: usize, flag: bool) {
        match operation {
            0 | 1 | 10..=255 => {
                let deadline = if flag { NEVER } else { other as f64 };
                let opening = Opening {
                    shielded: one.is_multiple_of(3),
                    cancelled: one.is_multiple_of(7),
                    deadline,
                };
                let task = self.task(one).filter(|_| operation != 1);
                self.enter(task, opening);
            }
            2 => {
                // A nursery's child begins.
                let Some(scope) = self.scope(one) else { return };
                let task = self.name();
                let key = self.scopes[&scope];
                let member = self.forest.join(key, task);
                self.tasks.insert(task, member);
                self.model.tasks.insert(task, scope);
                self.told
                    .insert(task, self.forest.is_effectively_cancelled(key));
            }
            3 => {
                let Some(task) = self.task(one) else { return };
                let scope = self.model.tasks[&task];
                let outer = self.model.scopes[&scope].0;
                let others = self.model.tasks.values().filter(|one| **one == scope);
                let inside = self
                    .model
                    .scopes
                    .values()
                    .any(|(around, ..)| *around == Some(scope));
                if self.lingering.contains_key(&scope) {
                    return; // nobody can exit it any more
                }
                if others.count() > 1 || inside {
                    // A nursery that is not empty; or it would be misnested.
                    let wrong = self.scope(other).filter(|wrong| *wrong != scope);
                    if let Some(wrong) = wrong {
                        let answer = self.forest.exit(self.tasks[&task], self.scopes[&wrong]);
                        assert_eq!(answer, Err(Misnested));
                    }
                    return;
                }
                let answer = self.forest.exit(self.tasks[&task], self.scopes[&scope]);
                assert_eq!(answer, Ok((outer.map(|outer| self.key(outer)), vec![])));
                self.scopes.remove(&scope);
                if outer.is_none() {
                    self.model.tasks.remove(&task);
                }
                assert!(!self.model.close(scope));
                match outer {
                    Some(outer) => {
                        let key = self.key(outer);
                        self.told
                            .insert(task, self.forest.is_effectively_cancelled(key));
                    }
                    None => {
                        self.tasks.remove(&task);
                        self.told.remove(&task);
                    }
                }
            }
            4 => {
                let Some(task) = self.task(one) else { return };
                assert_eq!(self.forest.leave(self.tasks[&task]), task);
                self.tasks.remove(&task);
                self.told.remove(&task);
                self.model.tasks.remove(&task);
            }
            5 => {
                let Some(scope) = self.scope(one) else { return };
                let changes = self.forest.cancel(self.scopes[&scope]);
                self.model.scopes.get_mut(&scope).unwrap().2 = true;
                self.tell(changes);
            }
            6 => {
                let Some(scope) = self.scope(one) else { return };
                let changes = self.forest.shield(self.scopes[&scope], flag);
                self.model.scopes.get_mut(&scope).unwrap().1 = flag;
                self.tell(changes);
            }
            7 => {
                let Some(scope) = self.scope(one) else { return };
                self.forest.set_deadline(self.scopes[&scope], other as f64);
                self.model.scopes.get_mut(&scope).unwrap().3 = other as f64;
            }
            8 => {
                // A misnested program closes a scope with others inside.
                let Some(scope) = self.scope(one) else { return };
                let key = self.scopes[&scope];
                let changes = self.forest.close(key);
                self.scopes.remove(&scope);
                if self.model.close(scope) {
                    self.lingering.insert(scope, key);
                }
                self.tell(changes);
            }
            9 => {
                // `nursery.start`: a child has started, and moves with all that is in its temporary nursery.
                let (Some(from), Some(to)) = (self.scope(one), self.scope(other)) else {
                    return;
                };
                let mut around = Some(to);
                while let Some(scope) = around {
                    if scope == from {
                        return;
                    }
                    around = self.model.scopes[&scope].0;
                }
                let inside = |innermost: &usize| *innermost == from;
                let mut members = self.model.tasks.iter().filter(|(_, scope)| inside(scope));
                let stays = members.next().map(|(task, _)| *task).filter(|_| flag);
                let mut changes = Vec::new();
                let (from_key, to_key) = (self.scopes[&from], self.scopes[&to]);
                let stays_key = stays.map(|task| self.tasks[&task]);
                self.forest.adopt(from_key, to_key, stays_key, &mut changes);
                for (outer, ..) in self.model.scopes.values_mut() {
                    if *outer == Some(from) {
                        *outer = Some(to);
                    }
                }
                for (task, innermost) in &mut self.model.tasks {
                    if *innermost == from && Some(*task) != stays {
                        *innermost = to;
                    }
                }
                self.tell(changes);
            }
        }
    }

    fn compare(&self) {
        assert_eq!(self.told, self.model.flags());
        assert_eq!(self.forest.len(), self.model.scopes.len());
        for (scope, key) in &self.scopes {
            assert_eq!(
                self.forest.is_effectively_cancelled(*key),
                self.model.effective(*scope)
            );
            assert_eq!(
                self.forest.effective_deadline(*key),
                self.model.deadline(*scope)
            );
            let (outer, shielded, ..) = self.model.scopes[scope];
            let outside = !shielded && outer.is_some_and(|outer| self.model.effective(outer));
            assert_eq!(self.forest.is_cancelled_from_outside(*key), outside);
        }
        for (task, member) in &self.tasks {
            let innermost = self.model.tasks[task];
            assert_eq!(self.forest.scope_of(*member), self.key(innermost));
        }
    }
}

/// How many histories: `PROPTEST_CASES=100000` is the long run.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(500)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Any history of tasks and scopes, misnested ones included: who is told what is what the rule says, and nobody is told twice.
    #[test]
    fn the_forest_agrees_with_the_rule_it_states(
        history in prop::collection::vec((0u8..18, 0usize..64, 0usize..64, any::<bool>()), 0..120)
    ) {
        let mut pair = Pair::default();
        for (operation, one, other, flag) in history {
            pair.step(operation, one, other, flag);
            pair.prune();
            pair.compare();
        }
    }
}
