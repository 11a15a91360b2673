//! What decides about the last bits of a result: libtorch, its threads, its library for products, the CPU. A checkpoint
//! remembers it, so that a resume under another engine is not silent.

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::distributed::Fact;
use crate::machine;
use crate::torch::{linear, threads};

/// What computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Version of libtorch.
    pub libtorch: String,
    /// Threads of one operation.
    pub threads: u64,
    /// The library for products of matrices in f32 on the CPU.
    pub products: String,
    /// Instructions that kernels may use, and the model.
    pub cpu: String,
}

/// One way in which two engines differ.
struct Difference<'a> {
    name: &'static str,
    before: &'a str,
    now: &'a str,
    remedy: String,
}

impl Engine {
    /// Of this process.
    #[must_use]
    pub fn now() -> Self {
        let products = if linear::uses_onednn() {
            "oneDNN"
        } else {
            "MKL"
        };
        Self {
            libtorch: env!("RECAP_LIBTORCH").to_owned(),
            threads: u64::try_from(tch::get_num_threads()).unwrap_or(1),
            products: products.to_owned(),
            cpu: threads::cpu(),
        }
    }

    /// What ranks compare; that of libtorch is for the program's.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let fact = |name: &str, value: &str| Fact {
            name: name.to_owned(),
            value: value.to_owned(),
            details: Vec::new(),
            must_agree: false,
            remedy: "the run is sound, but on other ranks the same batch gives other last bits"
                .to_owned(),
        };
        vec![
            fact("number of libtorch threads", &self.threads.to_string()),
            fact("library for matrix products", &self.products),
            fact("CPU", &self.cpu),
        ]
    }

    /// Goes on with what computed `before` a resume: with its number of threads, where the user has not chosen one and
    /// this machine has as many cores; says what is different all the same. Returns what computes from now on.
    #[must_use]
    pub fn go_on(before: Option<&Self>) -> Self {
        let Some(before) = before else {
            return Self::now();
        };
        let chosen = threads::is_number_chosen();
        let cores = machine::cores() as u64;
        let now = Self::now();
        if let Some(number) = kept_threads(before.threads, now.threads, chosen, cores) {
            tch::set_num_threads(number);
            info!(
                threads = number,
                "libtorch computes with as many threads as before, for the same bits; here it would take {}: \
                 OMP_NUM_THREADS chooses",
                now.threads
            );
        }
        let now = Self::now();
        let (threads_before, threads_now) = (before.threads.to_string(), now.threads.to_string());
        for difference in before.differences(&now, [&threads_before, &threads_now]) {
            let Difference {
                name,
                before,
                now,
                remedy,
            } = difference;
            warn!(
                "{name}: {before} until this resume, {now} from now on: the run goes on, but its last bits are no longer \
                 those of a run that was left alone{remedy}"
            );
        }
        now
    }

    fn differences<'a>(
        &'a self,
        now: &'a Self,
        threads: [&'a str; 2],
    ) -> impl Iterator<Item = Difference<'a>> {
        let difference = |name, before: &'a str, now: &'a str, remedy: String| Difference {
            name,
            before,
            now,
            remedy,
        };
        let keep = format!("; OMP_NUM_THREADS={} keeps them", self.threads);
        let all = [
            difference(
                "version of libtorch",
                &self.libtorch,
                &now.libtorch,
                String::new(),
            ),
            difference("number of libtorch threads", threads[0], threads[1], keep),
            difference(
                "library for matrix products",
                &self.products,
                &now.products,
                String::new(),
            ),
            difference("CPU", &self.cpu, &now.cpu, String::new()),
        ];
        all.into_iter().filter(|found| found.before != found.now)
    }
}

/// The number of threads to go back to, if it is to change.
fn kept_threads(before: u64, now: u64, chosen: bool, cores: u64) -> Option<i32> {
    let may = !chosen && before != now && (1..=cores).contains(&before);
    may.then(|| i32::try_from(before).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_kept_where_nobody_chose_and_there_are_cores() {
        assert_eq!(kept_threads(2, 4, false, 4), Some(2));
        assert_eq!(kept_threads(2, 4, true, 4), None);
        assert_eq!(kept_threads(8, 4, false, 4), None);
        assert_eq!(kept_threads(4, 4, false, 4), None);
        assert_eq!(kept_threads(0, 4, false, 4), None);
        assert_eq!(kept_threads(u64::MAX, 4, false, u64::MAX), None);
    }

    #[test]
    fn every_difference_is_named() {
        let engine = |text: &str, threads| Engine {
            libtorch: text.to_owned(),
            threads,
            products: text.to_owned(),
            cpu: text.to_owned(),
        };
        let (before, now) = (engine("a", 2), engine("b", 1));
        let names = |now: &Engine, threads| -> Vec<&str> {
            let found = before.differences(now, threads);
            found.map(|found| found.name).collect()
        };
        assert_eq!(names(&now, ["2", "1"]).len(), 4);
        assert_eq!(names(&before, ["2", "2"]), [""; 0]);
        assert_eq!(Engine::go_on(None), Engine::now());
        assert!(!Engine::now().cpu.is_empty());
    }
}
