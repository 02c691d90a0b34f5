//! Ways in which a network falls apart, each as the set of lines that it cuts. A line goes one way.

use std::collections::BTreeSet;
use std::fmt;

use super::Host;

/// From whom to whom.
pub type Line = (Host, Host);

/// A way of falling apart. Clients go on seeing the nodes unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partition {
    /// What one says does not reach the other; the way back is open.
    OneWay {
        /// Who is not heard.
        from: Host,
        /// By whom.
        to: Host,
    },
    /// Two do not hear each other.
    Between(Host, Host),
    /// A node is cut off from all other nodes, and clients still see it.
    Lonely(Host),
    /// A node hears all others, and none hears it; or the other way round.
    Deaf {
        /// The node.
        node: Host,
        /// It hears nobody (and is heard), rather than being heard by nobody.
        hears_nobody: bool,
    },
    /// Clients do not see a node, and the other nodes do.
    Hidden(Host),
    /// A node is cut off from everybody.
    Gone(Host),
    /// These nodes do not see the rest of them.
    Split(BTreeSet<Host>),
    /// A node sees both halves of the rest, which do not see each other.
    Bridge(Host),
    /// Each node sees its two neighbours in the order of their numbers. It cuts something from four nodes on.
    Ring,
}

impl Partition {
    /// The lines that it cuts among these nodes and the clients.
    pub fn lines(&self, nodes: &[Host]) -> BTreeSet<Line> {
        let rest = |but: Host| nodes.iter().copied().filter(move |node| *node != but);
        match self {
            Self::OneWay { from, to } => BTreeSet::from([(*from, *to)]),
            Self::Between(a, b) => both_ways([(*a, *b)]),
            Self::Lonely(node) => both_ways(rest(*node).map(|other| (*node, other))),
            Self::Deaf {
                node,
                hears_nobody: true,
            } => rest(*node).map(|other| (other, *node)).collect(),
            Self::Deaf { node, .. } => rest(*node).map(|other| (*node, other)).collect(),
            Self::Hidden(node) => both_ways([(*node, Host::Clients)]),
            Self::Gone(node) => both_ways(rest(*node).chain([Host::Clients]).map(|other| (*node, other))),
            Self::Split(part) => {
                let (these, those): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| part.contains(node));
                between(&these, &those)
            }
            Self::Bridge(middle) => {
                let others: Vec<_> = rest(*middle).collect();
                let (these, those) = others.split_at(others.len() / 2);
                between(these, those)
            }
            Self::Ring => strangers_in_a_ring(nodes),
        }
    }
}

fn both_ways(pairs: impl IntoIterator<Item = Line>) -> BTreeSet<Line> {
    pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

fn between(these: &[Host], those: &[Host]) -> BTreeSet<Line> {
    both_ways(these.iter().flat_map(|a| those.iter().map(|b| (*a, *b))))
}

fn strangers_in_a_ring(nodes: &[Host]) -> BTreeSet<Line> {
    let count = nodes.len();
    let pairs = (0..count).flat_map(|a| (0..a).map(move |b| (a, b)));
    let strangers = pairs.filter(|(a, b)| !matches!(a - b, 1) && a - b != count - 1);
    both_ways(strangers.map(|(a, b)| (nodes[a], nodes[b])))
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneWay { from, to } => write!(f, "{from} is not heard by {to}"),
            Self::Between(a, b) => write!(f, "{a} and {b} do not hear each other"),
            Self::Lonely(node) => write!(f, "{node} is cut off from the other nodes"),
            Self::Deaf {
                node,
                hears_nobody: true,
            } => write!(f, "{node} hears no other node"),
            Self::Deaf { node, .. } => write!(f, "no other node hears {node}"),
            Self::Hidden(node) => write!(f, "clients do not see {node}"),
            Self::Gone(node) => write!(f, "{node} is cut off from everybody"),
            Self::Split(part) => {
                write!(f, "split off:")?;
                part.iter().try_for_each(|node| write!(f, " {node}"))
            }
            Self::Bridge(middle) => write!(f, "{middle} alone sees both halves"),
            Self::Ring => write!(f, "each sees its neighbours in the ring"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u8) -> Vec<Host> {
        (1..=count).map(Host::Node).collect()
    }

    fn cut(partition: &Partition, count: u8) -> Vec<String> {
        let lines = partition.lines(&nodes(count));
        lines.iter().map(|(from, to)| format!("{from}>{to}")).collect()
    }

    #[test]
    fn a_bridge_leaves_one_node_that_sees_both_halves() {
        let bridge = Partition::Bridge(Host::Node(3));
        let lines = bridge.lines(&nodes(5));
        assert_eq!(lines.len(), 8, "two by two, both ways: {lines:?}");
        assert!(lines.iter().all(|(a, b)| *a != Host::Node(3) && *b != Host::Node(3)));
        assert_eq!(cut(&Partition::Bridge(Host::Node(1)), 3), ["n2>n3", "n3>n2"]);
    }

    #[test]
    fn in_a_ring_each_node_sees_two() {
        let lines = Partition::Ring.lines(&nodes(5));
        for node in nodes(5) {
            assert_eq!(lines.iter().filter(|(from, _)| *from == node).count(), 2, "{lines:?}");
        }
        assert!(!lines.contains(&(Host::Node(1), Host::Node(5))));
        assert_eq!(cut(&Partition::Ring, 4), ["n1>n3", "n2>n4", "n3>n1", "n4>n2"]);
        assert!(cut(&Partition::Ring, 3).is_empty());
    }

    #[test]
    fn one_way_is_one_way_and_clients_are_named() {
        let one_way = Partition::OneWay {
            from: Host::Node(1),
            to: Host::Node(2),
        };
        assert_eq!(cut(&one_way, 3), ["n1>n2"]);
        assert_eq!(
            cut(&Partition::Lonely(Host::Node(2)), 3),
            ["n1>n2", "n2>n1", "n2>n3", "n3>n2"]
        );
        assert_eq!(cut(&Partition::Hidden(Host::Node(2)), 3), ["clients>n2", "n2>clients"]);
        assert_eq!(
            cut(&Partition::Gone(Host::Node(2)), 2),
            ["clients>n2", "n1>n2", "n2>clients", "n2>n1"]
        );
        let deaf = |hears_nobody| Partition::Deaf {
            node: Host::Node(1),
            hears_nobody,
        };
        assert_eq!(cut(&deaf(true), 3), ["n2>n1", "n3>n1"]);
        assert_eq!(cut(&deaf(false), 3), ["n1>n2", "n1>n3"]);
        let split = Partition::Split(BTreeSet::from([Host::Node(1), Host::Node(2)]));
        assert_eq!(cut(&split, 3), ["n1>n3", "n2>n3", "n3>n1", "n3>n2"]);
    }
}
