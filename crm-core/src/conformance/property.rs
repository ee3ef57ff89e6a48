//! Runs a property over generated input, in async code.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::{CheckResult, Failure};

/// How often a failing input is made smaller at most.
const SHRINKING_STEPS: usize = 400;

/// The environment variable that gives other input: see [`super`].
const SEED: &str = "CONFORMANCE_SEED";

/// The seed that the environment asks for, 0 where it asks for none.
fn environment_seed() -> u64 {
    std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

/// Always the same input for the same seed, so that a failure can be met again.
pub(super) fn runner(seed: u8) -> TestRunner {
    let mut seed = [seed; 32];
    seed[..8].copy_from_slice(&environment_seed().to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

/// One input of the strategy.
pub(super) fn generate<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> Result<S::Value, Failure> {
    Ok(tree(runner, strategy)?.current())
}

fn tree<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> Result<S::Tree, Failure> {
    strategy.new_tree(runner).map_err(|reason| Failure::new(format!("no input could be made: {reason}")))
}

/// Checks `cases` inputs. One that fails is made as small as it goes before it is told.
pub(super) async fn for_all<S: Strategy>(
    runner: &mut TestRunner,
    cases: usize,
    strategy: &S,
    check: impl AsyncFn(S::Value) -> CheckResult,
) -> CheckResult {
    for case in 0..cases {
        let mut tree = tree(runner, strategy)?;
        if let Err(first) = check(tree.current()).await {
            let smallest = shrink(&mut tree, first, &check).await;
            return Err(smallest.within(&format!("case {case} of {cases}, {SEED}={}", environment_seed())));
        }
    }
    Ok(())
}

async fn shrink<T: ValueTree>(tree: &mut T, first: Failure, check: impl AsyncFn(T::Value) -> CheckResult) -> Failure {
    let mut smallest = first;
    let mut moved = tree.simplify();
    for _ in 0..SHRINKING_STEPS {
        if !moved {
            break;
        }
        moved = match check(tree.current()).await {
            Err(failure) => {
                smallest = failure;
                tree.simplify()
            }
            Ok(()) => tree.complicate(),
        };
    }
    smallest
}
