//! Who goes first where the processors are busy.
//!
//! An event is on its way until a search can find it. The threads it passes go first; those below let them.

/// What lets the threads of an event's way go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Answers to clients. Who asks more than the processors give waits for the answers; what arrives does not wait for who asks.
    Answers,
    /// What nobody waits for.
    Disk,
}

impl Behind {
    /// The niceness of such a thread. Beside one of an event's way it gets about a third of a processor, or a tenth.
    #[must_use]
    pub fn niceness(self) -> i32 {
        match self {
            Self::Answers => 5,
            Self::Disk => 10,
        }
    }

    /// Puts the calling thread there, and those that it starts from now on.
    pub fn put_this_thread(self) {
        #[cfg(target_os = "linux")]
        if let Err(e) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), self.niceness()) {
            tracing::debug!(error = %e, behind = ?self, "the priority of a thread stays as it is");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_put_behind_others_with_those_it_starts_and_nobody_else() {
        let of_this = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = of_this();
        for behind in [Behind::Answers, Behind::Disk] {
            let put = std::thread::spawn(move || {
                behind.put_this_thread();
                (of_this(), std::thread::spawn(of_this).join().unwrap())
            });
            assert_eq!(put.join().unwrap(), (behind.niceness(), behind.niceness()));
        }
        assert_eq!(of_this(), before);
    }
}
