//! Decides which instances keep a copy of a task beside its owner: by rendezvous hashing over the living instances. Pure.
//!
//! Every instance computes the same from the same picture, so nobody has to agree on anything, and nobody but those concerned
//! moves: an instance that goes takes only the copies that it had, one that comes takes only those that it now ranks first for.
//! The group protocol has no say in it, and knows nothing of it.

/// What one instance knows of a task that it does not own.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Table.
    pub table: &'a str,
    /// Partition.
    pub partition: u32,
    /// Who says that it owns it.
    pub owner: Option<&'a str>,
    /// Whether that instance works on it.
    pub owner_runs: bool,
    /// Other instances whose copy is caught up.
    pub copies_elsewhere: usize,
    /// Whether there is a copy here.
    pub copy_here: bool,
}

/// Whether the instance `me` keeps a copy: it is chosen, or it has one that is still needed, because the owner does not work yet or
/// the others that were chosen have not caught up.
pub fn keeps(me: &str, live: &[&str], count: usize, task: Seen<'_>) -> bool {
    let chosen = standbys(task.table, task.partition, task.owner, live.iter().copied(), count).contains(&me);
    chosen || (task.copy_here && (!task.owner_runs || task.copies_elsewhere < count))
}

/// The instances that keep a copy of a task, the first choice first: `count` of those `live`, never the owner. While nobody is
/// known to own it, one more: whichever of them turns out to be the owner, enough others have a copy.
pub fn standbys<'a>(
    table: &str,
    partition: u32,
    owner: Option<&str>,
    live: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let others = live.into_iter().filter(|instance| Some(*instance) != owner);
    let mut ranked: Vec<(u64, &str)> = others.map(|instance| (weight(table, partition, instance), instance)).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.dedup();
    let wanted = if count > 0 && owner.is_none() { count + 1 } else { count };
    ranked.into_iter().take(wanted).map(|(_, instance)| instance).collect()
}

/// Which instance makes the group share out anew what nobody owns, given how many tasks each living one owns: the one with the
/// fewest, whose own then wait the least; of several the first by name.
pub fn who_steps_back<'a>(owned: impl IntoIterator<Item = (&'a str, usize)>) -> Option<&'a str> {
    owned.into_iter().min_by_key(|(instance, tasks)| (*tasks, *instance)).map(|(instance, _)| instance)
}

/// How much an instance is drawn to a task. The same in every build: instances of two versions must agree. FNV-1a over the
/// parts, then the finalizer of SplitMix64, since FNV alone leaves similar names with similar weights.
fn weight(table: &str, partition: u32, instance: &str) -> u64 {
    let number = partition.to_be_bytes();
    let parts: [&[u8]; 5] = [table.as_bytes(), &[0xff], &number, &[0xff], instance.as_bytes()];
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut z = parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, fnv);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
