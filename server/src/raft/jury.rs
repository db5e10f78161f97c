//! `Jury`: who is right when replicas differ.
//!
//! A replica that finds a difference asks the other voters what they have after the same entry. As it tells what it has
//! itself, those that differ from it ask too, so that each decides for itself, by the same rule: it is odd if a majority
//! of the voters has something else, all of it the same. Of two voters the leader is taken to be right. Whoever is odd
//! goes into quarantine, after it has handed leadership over, and is healed (`healing`). The log goes on meanwhile: it
//! was never wrong, so this node's copy of it counts as before.

use super::Cluster;
use super::evidence::{self, Answer};
use super::retry::Retry;
use super::rpc::{self, Kind};
use crate::digest::{Difference, Digest, Digests};
use crate::fault::{Fault, chain};
use crate::machine::{Standing, Verdict};
use crate::type_config::{Node, NodeId};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

/// What there is to decide.
#[derive(Clone, Copy, Debug)]
struct Case {
    difference: Difference,
    voters: usize,
    /// Whether this node is one of them.
    votes: bool,
    /// Whether this node leads, if anybody does.
    leads: Option<bool>,
}

impl Case {
    /// Decides by what other voters have.
    fn judge(&self, others: &[Digests]) -> Verdict {
        let Some(own) = self.ballot(&self.difference.ours) else { return Verdict::Undecided };
        let ballots: Vec<_> = others.iter().filter_map(|digests| self.ballot(digests)).collect();
        let votes = |ballot| ballots.iter().filter(|other| **other == ballot).count();
        let majority = self.voters / 2 + 1;
        if votes(own) + usize::from(self.votes) >= majority {
            return Verdict::Sound;
        }
        let differing = ballots.iter().filter(|ballot| **ballot != own);
        match (self.voters, self.leads) {
            _ if differing.clone().any(|ballot| votes(*ballot) >= majority) => Verdict::Odd,
            (2, Some(true)) if self.votes && differing.count() == 1 => Verdict::Sound,
            (2, Some(false)) if self.votes && votes(own) == 0 && !ballots.is_empty() => Verdict::Odd,
            _ => Verdict::Undecided,
        }
    }

    /// What counts of a replica's digests; `None` if it has not what the difference is about.
    fn ballot(&self, digests: &Digests) -> Option<(Digest, Option<Digest>)> {
        match self.difference.is_of_replies() {
            true => Some((digests.running, None)),
            false => digests.state.map(|state| (digests.running, Some(state))),
        }
    }
}

impl Cluster {
    /// Decides whenever the machine is in doubt, and heals it when it is wrong, until the node stops.
    pub(super) async fn keep_sound(self) {
        let stopping = self.shared.stopping.clone();
        stopping.run_until_cancelled(self.follow_standing()).await;
    }

    async fn follow_standing(&self) {
        let mut standings = self.shared.machine.standings();
        let mut retry = Retry::new();
        let mut said = String::new();
        let mut in_quarantine = false;
        loop {
            let standing = *standings.borrow_and_update();
            match standing {
                Standing::Sound => {
                    if std::mem::take(&mut in_quarantine) {
                        self.leave_quarantine().await;
                        tracing::info!(
                            index = self.applied(),
                            "this node has another's state, and is out of quarantine"
                        );
                    }
                    if standings.changed().await.is_err() {
                        return;
                    }
                    retry.hurry();
                    said.clear();
                }
                Standing::Doubted(difference) => self.decide(difference, &mut said).await,
                Standing::Undecided(_) => {
                    retry_or_change(&mut retry, &mut standings).await;
                    // The latest difference is the one that the others remember best.
                    if let Standing::Undecided(difference) = self.shared.machine.standing() {
                        self.decide(difference, &mut said).await;
                    }
                }
                Standing::Quarantined(_) => {
                    in_quarantine = true;
                    if let Err(error) = self.heal().await {
                        let error = chain(&error);
                        if error != said {
                            tracing::warn!(error, "this node cannot get another's state yet");
                            said = error;
                        }
                        retry_or_change(&mut retry, &mut standings).await;
                    }
                }
            }
        }
    }

    /// `said` is what was said last, so that it is not said for each try.
    async fn decide(&self, difference: Difference, said: &mut String) {
        let (verdict, answers) = self.inquire(difference).await;
        let (index, ours, theirs) = (difference.index(), difference.ours, difference.theirs);
        let nodes = evidence::answers_text(&answers);
        match verdict {
            Verdict::Odd => return self.quarantine(difference, &answers).await,
            Verdict::Sound => {
                tracing::warn!(index, %ours, %theirs, nodes, "the majority has what this node has, or it leads one of two");
            }
            Verdict::Undecided if *said == nodes => {}
            Verdict::Undecided => {
                tracing::error!(
                    index, %ours, %theirs, nodes,
                    "nodes differ and there is no majority either way, so none is put into quarantine"
                );
                *said = nodes;
            }
        }
        // A leader goes on: whom the others follow must not be decided by who answers late.
        let verdict = if self.is_leader() { Verdict::Sound } else { verdict };
        self.judged(verdict).await;
    }

    /// Asks the other voters until a majority has answered alike, or all have answered or are given up.
    async fn inquire(&self, difference: Difference) -> (Verdict, Vec<Answer>) {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let own = self.shared.node_id;
        let case = Case {
            difference,
            voters: membership.voter_ids().count(),
            votes: membership.voter_ids().any(|voter| voter == own),
            leads: metrics.current_leader.map(|leader| leader == own),
        };
        let others = membership.voter_ids().filter(|voter| *voter != own);
        let mut asked: FuturesUnordered<_> = others
            .filter_map(|voter| Some((voter, membership.get_node(&voter)?.clone())))
            .map(|(voter, node)| self.ask_for_digests(voter, node, difference.ours))
            .collect();
        let mut answers = Vec::new();
        let mut verdict = case.judge(&[]);
        while verdict == Verdict::Undecided
            && let Some(answer) = asked.next().await
        {
            answers.push(answer);
            let others: Vec<Digests> = answers.iter().filter_map(|answer: &Answer| answer.digests).collect();
            verdict = case.judge(&others);
        }
        (verdict, answers)
    }

    async fn ask_for_digests(&self, node_id: NodeId, node: Node, ours: Digests) -> Answer {
        let link = self.shared.forward.link(&node.address);
        let asked = async {
            let answer = link.ask(Kind::Digests, rpc::encode(&ours).ok()?, self.shared.answer_timeout).await.ok()?;
            rpc::decode::<Option<Digests>>(&answer).ok()?
        };
        Answer { digests: asked.await, node_id, node }
    }

    /// From now on nobody gets anything of this node's state, over every restart.
    async fn quarantine(&self, difference: Difference, answers: &[Answer]) {
        if self.is_leader()
            && let Err(error) = self.hand_over().await
        {
            tracing::warn!(%error, "leadership is not handed over; the others elect a leader when they miss this one");
        }
        let ward = self.shared.ward.clone();
        let entered = tokio::task::spawn_blocking(move || ward.enter(&difference)).await;
        if let Ok(Err(error)) = entered {
            return self.shared.machine.alarm().raise(&Fault::because("the quarantine cannot be written down", error));
        }
        let Some(tail) = self.judged(Verdict::Odd).await else {
            // The state was replaced in the meantime.
            return self.leave_quarantine().await;
        };
        let text = evidence::text(self, &difference, answers, &tail);
        let ward = self.shared.ward.clone();
        let kept = tokio::task::spawn_blocking(move || ward.keep_evidence(difference.index(), &text)).await;
        let evidence = match kept {
            Ok(Ok(path)) => path.display().to_string(),
            Ok(Err(error)) => chain(&error),
            Err(error) => error.to_string(),
        };
        let (index, ours, theirs) = (difference.index(), difference.ours, difference.theirs);
        tracing::error!(index, %ours, %theirs, evidence, "this node's state is wrong: it is in quarantine until it has another's");
    }

    /// The state is another's, and the newest snapshot has it; those before may have a wrong one.
    async fn leave_quarantine(&self) {
        let (ward, snapshots) = (self.shared.ward.clone(), self.shared.machine.snapshots().clone());
        let leave = move || {
            let failed = |what: &str, error: Box<dyn std::error::Error + Send + Sync>| {
                Fault::because(format!("{what} failed"), error)
            };
            for old in snapshots.list().map_err(|error| failed("listing snapshots", error.into()))?.iter().skip(1) {
                snapshots.set_aside(&old.id).map_err(|error| failed("setting a snapshot aside", error.into()))?;
            }
            ward.leave().map_err(|error| failed("writing down the end of the quarantine", error.into()))
        };
        if let Ok(Err(fault)) = tokio::task::spawn_blocking(leave).await {
            self.shared.machine.alarm().raise(&fault);
        }
    }

    /// Tells the machine; the last entries if it is in quarantine now.
    async fn judged(&self, verdict: Verdict) -> Option<String> {
        // The machine reports its faults itself.
        self.shared.machine.judge(verdict).await.ok().flatten()
    }
}

async fn retry_or_change(retry: &mut Retry, standings: &mut watch::Receiver<Standing>) {
    tokio::select! {
        () = retry.pause() => {}
        changed = standings.changed() => if changed.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Digests = Digests { index: 9, running: Digest(1), state: Some(Digest(10)) };
    const OTHER: Digests = Digests { running: Digest(2), ..OURS };
    const THIRD: Digests = Digests { running: Digest(3), ..OURS };
    const OTHER_STATE: Digests = Digests { state: Some(Digest(20)), ..OURS };
    const NO_STATE: Digests = Digests { state: None, ..OURS };

    fn case(theirs: Digests, voters: usize) -> Case {
        Case { difference: Difference { ours: OURS, theirs }, voters, votes: true, leads: Some(false) }
    }

    #[test]
    fn a_majority_decides() {
        for (voters, others, verdict) in [
            (3, &[][..], Verdict::Undecided),
            (3, &[OURS], Verdict::Sound),
            (3, &[OTHER], Verdict::Undecided),
            (3, &[OTHER, OURS], Verdict::Sound),
            (3, &[OTHER, OTHER], Verdict::Odd),
            (3, &[OTHER, THIRD], Verdict::Undecided),
            (5, &[OTHER, OTHER], Verdict::Undecided),
            (5, &[OTHER, OTHER, THIRD], Verdict::Undecided),
            (5, &[OTHER, OTHER, THIRD, OTHER], Verdict::Odd),
            (5, &[OTHER, OTHER, OURS, OURS], Verdict::Sound),
            (4, &[OTHER, OTHER], Verdict::Undecided),
            (4, &[OTHER, OTHER, OTHER], Verdict::Odd),
            (4, &[OTHER, OTHER, OURS], Verdict::Undecided),
            (1, &[], Verdict::Sound),
        ] {
            assert_eq!(case(OTHER, voters).judge(others), verdict, "{voters} voters, {others:?}");
        }
    }

    #[test]
    fn of_two_voters_the_leader_is_right() {
        for (leads, verdict) in [(Some(false), Verdict::Odd), (Some(true), Verdict::Sound), (None, Verdict::Undecided)]
        {
            let case = Case { leads, ..case(OTHER, 2) };
            assert_eq!(case.judge(&[]), Verdict::Undecided);
            assert_eq!(case.judge(&[OTHER]), verdict, "{leads:?}");
            assert_eq!(case.judge(&[OURS]), Verdict::Sound);
        }
    }

    #[test]
    fn a_node_without_a_vote_goes_by_those_who_have_one() {
        let learner = |voters| Case { votes: false, ..case(OTHER, voters) };
        assert_eq!(learner(1).judge(&[OTHER]), Verdict::Odd);
        assert_eq!(learner(1).judge(&[OURS]), Verdict::Sound);
        assert_eq!(learner(1).judge(&[]), Verdict::Undecided);
        assert_eq!(learner(2).judge(&[OTHER]), Verdict::Undecided);
        assert_eq!(learner(2).judge(&[OTHER, OTHER]), Verdict::Odd);
        assert_eq!(learner(3).judge(&[OURS, OTHER]), Verdict::Undecided);
    }

    #[test]
    fn about_a_state_only_those_who_have_its_digest_vote() {
        let case = case(OTHER_STATE, 3);
        assert_eq!(case.judge(&[OTHER_STATE, NO_STATE]), Verdict::Undecided);
        assert_eq!(case.judge(&[OTHER_STATE, OTHER_STATE]), Verdict::Odd);
        assert_eq!(case.judge(&[OTHER_STATE, OURS]), Verdict::Sound);
        let about_replies = super::tests::case(OTHER, 3);
        assert_eq!(about_replies.judge(&[NO_STATE]), Verdict::Sound, "their replies are the same");
    }
}
