//! Cancel scopes: which of them are cancelled, and which tasks that reaches.
//!
//! Scopes form a forest. A scope is opened inside another, by a task that is in that one, and closed by the same task; a nursery's
//! children begin in the nursery's scope, so a branch may hold many tasks. A task is a *member* of the innermost scope it is in, and of
//! no other.
//!
//! **The one rule.** A scope is *effectively* cancelled when it is cancelled itself, or when it is not shielded and the scope around it is
//! effectively cancelled. Every scope keeps the answer (`effective`), so that a task that parks need not climb; whatever could change
//! it for others says which members it changed for, and the border tells them
//! (`tests::the_forest_agrees_with_the_rule_it_states`).
//!
//! **Nothing dangles.** What closes a scope with others still inside, as a misnested program does, or a supervisor that gives a task up, hands
//! them to the scope around it. An outermost one has none around it: it lingers, as it is, until the last inside has gone.

#[cfg(test)]
mod tests;

use slab::Slab;

/// Names a scope from its opening to its closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScopeKey(u32);

/// Names a task among the members, as long as it is in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberKey(u32);

/// How a scope begins.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// What reaches the scope around it does not reach it.
    pub shielded: bool,
    /// It was cancelled before it began.
    pub cancelled: bool,
    /// When it ends, in seconds on the loop's clock; infinity for never.
    pub deadline: f64,
}

/// A task for which a change made a difference, and whether it is in a cancelled scope now.
pub type Change<T> = (T, bool);

#[derive(Debug)]
struct Scope {
    outer: Option<ScopeKey>,
    opening: Opening,
    /// The rule's answer; see the module.
    effective: bool,
    /// It is closed, and goes with the last that is inside.
    lingers: bool,
    /// The first of the scopes opened inside, and this one's neighbours among those of the scope around it.
    inner: Option<ScopeKey>,
    before: Option<ScopeKey>,
    after: Option<ScopeKey>,
    /// The first of its members.
    member: Option<MemberKey>,
}

#[derive(Debug)]
struct Member<T> {
    task: T,
    scope: ScopeKey,
    before: Option<MemberKey>,
    after: Option<MemberKey>,
}

/// All scopes of a loop, and the tasks in them.
#[derive(Debug)]
pub struct Forest<T> {
    scopes: Slab<Scope>,
    members: Slab<Member<T>>,
}

impl<T: Copy> Forest<T> {
    /// No scope, no member.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            scopes: Slab::new(),
            members: Slab::new(),
        }
    }

    /// A task enters a new scope inside the innermost it is in, if it is in one.
    #[inline]
    pub fn enter(
        &mut self,
        member: Option<MemberKey>,
        task: T,
        opening: Opening,
    ) -> (ScopeKey, MemberKey) {
        let outer = member.map(|member| self.member(member).scope);
        let scope = self.open(outer, opening);
        match member {
            Some(member) => {
                self.move_member(member, scope);
                (scope, member)
            }
            None => (scope, self.join(scope, task)),
        }
    }

    /// A task leaves the scope that it is in, which is closed; the scope around it that it is in now, or `None` when it is in no scope
    /// any more and its key is void. And for whom else, who is left inside, it makes a difference.
    ///
    /// # Errors
    ///
    /// [`Misnested`] when the task is not in that scope as its innermost. Nothing is changed then.
    #[inline]
    pub fn exit(
        &mut self,
        member: MemberKey,
        scope: ScopeKey,
    ) -> Result<(Option<ScopeKey>, Vec<Change<T>>), Misnested> {
        if self.member(member).scope != scope {
            return Err(Misnested);
        }
        let outer = self.scope(scope).outer;
        match outer {
            Some(outer) => self.move_member(member, outer),
            None => {
                let _task: T = self.leave(member);
            }
        }
        Ok((outer, self.close(scope)))
    }

    /// Opens a scope that no task enters yet.
    #[inline]
    pub fn open(&mut self, outer: Option<ScopeKey>, opening: Opening) -> ScopeKey {
        let around = outer.is_some_and(|outer| self.scope(outer).effective);
        let scope = ScopeKey(index(self.scopes.insert(Scope {
            outer: None,
            opening,
            effective: opening.cancelled || (around && !opening.shielded),
            lingers: false,
            inner: None,
            before: None,
            after: None,
            member: None,
        })));
        if let Some(outer) = outer {
            self.link(scope, outer);
        }
        scope
    }

    /// Closes a scope. Who is still inside is in the scope around it from now on; for whom that makes a difference is answered.
    #[must_use]
    #[inline]
    pub fn close(&mut self, scope: ScopeKey) -> Vec<Change<T>> {
        let this = self.scope(scope);
        let mut changes = Vec::new();
        if this.member.is_some() || this.inner.is_some() {
            let Some(outer) = this.outer else {
                let this = self.scope_mut(scope);
                this.lingers = true;
                this.opening.deadline = f64::INFINITY;
                return changes;
            };
            self.adopt(scope, outer, None, &mut changes);
        }
        self.unlink(scope);
        let _closed: Scope = self.scopes.remove(scope.0 as usize);
        changes
    }

    /// A new task begins in a scope.
    #[inline]
    pub fn join(&mut self, scope: ScopeKey, task: T) -> MemberKey {
        let after = self.scope(scope).member;
        let member = MemberKey(index(self.members.insert(Member {
            task,
            scope,
            before: None,
            after,
        })));
        if let Some(after) = after {
            self.member_mut(after).before = Some(member);
        }
        self.scope_mut(scope).member = Some(member);
        member
    }

    /// A task is in no scope any more.
    #[inline]
    pub fn leave(&mut self, member: MemberKey) -> T {
        self.unlink_member(member);
        self.members.remove(member.0 as usize).task
    }

    /// Moves everybody in one scope, its members but for one and the scopes inside it, into another.
    pub fn adopt(
        &mut self,
        from: ScopeKey,
        to: ScopeKey,
        stays: Option<MemberKey>,
        changes: &mut Vec<Change<T>>,
    ) {
        let (was, is) = (self.scope(from).effective, self.scope(to).effective);
        let mut next = self.scope(from).member;
        while let Some(member) = next {
            next = self.member(member).after;
            if Some(member) == stays {
                continue;
            }
            self.move_member(member, to);
            if was != is {
                changes.push((self.member(member).task, is));
            }
        }
        while let Some(inner) = self.scope(from).inner {
            self.unlink(inner);
            self.link(inner, to);
            self.settle(inner, changes);
        }
    }

    /// Cancels a scope, for good. Whom it reaches who was not reached before is answered.
    #[must_use]
    pub fn cancel(&mut self, scope: ScopeKey) -> Vec<Change<T>> {
        let mut changes = Vec::new();
        self.scope_mut(scope).opening.cancelled = true;
        self.settle(scope, &mut changes);
        changes
    }

    /// Shields a scope from those around it, or exposes it to them.
    #[must_use]
    pub fn shield(&mut self, scope: ScopeKey, shielded: bool) -> Vec<Change<T>> {
        let mut changes = Vec::new();
        self.scope_mut(scope).opening.shielded = shielded;
        self.settle(scope, &mut changes);
        changes
    }

    /// Moves the end of a scope.
    pub fn set_deadline(&mut self, scope: ScopeKey, deadline: f64) {
        self.scope_mut(scope).opening.deadline = deadline;
    }

    /// Whether what is in the scope is cancelled, by it or by one around it.
    #[inline]
    #[must_use]
    pub fn is_effectively_cancelled(&self, scope: ScopeKey) -> bool {
        self.scope(scope).effective
    }

    /// Whether it is one around it that cancels what is in the scope, so that the cancellation must go on outwards.
    #[must_use]
    pub fn is_cancelled_from_outside(&self, scope: ScopeKey) -> bool {
        let scope = self.scope(scope);
        !scope.opening.shielded && scope.outer.is_some_and(|outer| self.scope(outer).effective)
    }

    /// The innermost scope that a task is in.
    #[must_use]
    pub fn scope_of(&self, member: MemberKey) -> ScopeKey {
        self.member(member).scope
    }

    /// When what is in the scope is cancelled if nobody does it before: minus infinity if that has happened.
    #[must_use]
    pub fn effective_deadline(&self, scope: ScopeKey) -> f64 {
        if self.scope(scope).effective {
            return f64::NEG_INFINITY;
        }
        let mut least = f64::INFINITY;
        let mut next = Some(scope);
        while let Some(scope) = next.map(|scope| self.scope(scope)) {
            least = least.min(scope.opening.deadline);
            next = scope.outer.filter(|_| !scope.opening.shielded);
        }
        least
    }

    /// Whether the scope is open.
    #[must_use]
    pub fn contains(&self, scope: ScopeKey) -> bool {
        self.scopes.contains(scope.0 as usize)
    }

    /// How many scopes are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scopes.len()
    }

    /// Whether no scope is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Applies the rule to a scope and to all inside it. (No recursion: a program decides how deep it goes.)
    fn settle(&mut self, top: ScopeKey, changes: &mut Vec<Change<T>>) {
        let mut next = Some(top);
        while let Some(scope) = next {
            let this = self.scope(scope);
            let around = this
                .outer
                .is_some_and(|outer| self.scope(outer).effective && !this.opening.shielded);
            let effective = this.opening.cancelled || around;
            if this.effective == effective {
                next = self.after_branch(scope, top);
                continue;
            }
            self.scope_mut(scope).effective = effective;
            let mut member = self.scope(scope).member;
            while let Some(one) = member.map(|member| self.member(member)) {
                changes.push((one.task, effective));
                member = one.after;
            }
            next = self
                .scope(scope)
                .inner
                .or_else(|| self.after_branch(scope, top));
        }
    }

    /// The scope that a walk below `top` comes to after `scope` and all inside it.
    fn after_branch(&self, scope: ScopeKey, top: ScopeKey) -> Option<ScopeKey> {
        let mut scope = scope;
        while scope != top {
            if let Some(after) = self.scope(scope).after {
                return Some(after);
            }
            scope = self.scope(scope).outer?;
        }
        None
    }

    /// A closed scope goes when nothing is inside any more.
    fn let_go(&mut self, scope: ScopeKey) {
        let this = self.scope(scope);
        if this.lingers && this.member.is_none() && this.inner.is_none() {
            let _gone: Scope = self.scopes.remove(scope.0 as usize);
        }
    }

    #[inline]
    fn link(&mut self, scope: ScopeKey, outer: ScopeKey) {
        let after = self.scope_mut(outer).inner.replace(scope);
        if let Some(after) = after {
            self.scope_mut(after).before = Some(scope);
        }
        let this = self.scope_mut(scope);
        (this.outer, this.before, this.after) = (Some(outer), None, after);
    }

    #[inline]
    fn unlink(&mut self, scope: ScopeKey) {
        let this = self.scope_mut(scope);
        let (outer, before, after) = (this.outer.take(), this.before.take(), this.after.take());
        if let Some(after) = after {
            self.scope_mut(after).before = before;
        }
        match (before, outer) {
            (Some(before), _) => self.scope_mut(before).after = after,
            (None, Some(outer)) => {
                self.scope_mut(outer).inner = after;
                self.let_go(outer);
            }
            (None, None) => {}
        }
    }

    #[inline]
    fn move_member(&mut self, member: MemberKey, scope: ScopeKey) {
        self.unlink_member(member);
        let after = self.scope_mut(scope).member.replace(member);
        if let Some(after) = after {
            self.member_mut(after).before = Some(member);
        }
        let this = self.member_mut(member);
        (this.scope, this.before, this.after) = (scope, None, after);
    }

    #[inline]
    fn unlink_member(&mut self, member: MemberKey) {
        let this = self.member(member);
        let (scope, before, after) = (this.scope, this.before, this.after);
        if let Some(after) = after {
            self.member_mut(after).before = before;
        }
        match before {
            Some(before) => self.member_mut(before).after = after,
            None => {
                self.scope_mut(scope).member = after;
                self.let_go(scope);
            }
        }
    }

    #[inline]
    fn scope(&self, scope: ScopeKey) -> &Scope {
        &self.scopes[scope.0 as usize]
    }

    #[inline]
    fn scope_mut(&mut self, scope: ScopeKey) -> &mut Scope {
        &mut self.scopes[scope.0 as usize]
    }

    #[inline]
    fn member(&self, member: MemberKey) -> &Member<T> {
        &self.members[member.0 as usize]
    }

    #[inline]
    fn member_mut(&mut self, member: MemberKey) -> &mut Member<T> {
        &mut self.members[member.0 as usize]
    }
}

impl<T: Copy> Default for Forest<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A scope was left that is not the innermost of its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misnested;

/// A slab's key as we keep it: four thousand million scopes would not fit into memory.
#[inline]
fn index(key: usize) -> u32 {
    debug_assert!(u32::try_from(key).is_ok());
    key as u32
}
