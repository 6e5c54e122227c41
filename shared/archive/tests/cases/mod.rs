//! What holds on every kind of store: one test for each case and kind.
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, reason = "a test fails so")]

pub mod append;
pub mod races;

/// A test for every case, at places of one kind: `cases_at!(Place::files)`.
macro_rules! cases_at {
    ($place:path) => {
        cases_at!(@ $place, append:
            rows_read_back_once_each_sorted_within_their_day
            what_was_appended_is_not_appended_again
            another_stream_or_incarnation_has_positions_of_its_own
            rows_that_nothing_covers_are_refused
            nothing_to_write_makes_no_commit
            checkpoints_carry_files_and_positions
            columns_the_table_does_not_have_are_added
            tables_of_another_kind_are_refused
            times_no_calendar_holds_are_kept
        );
        cases_at!(@ $place, races:
            the_store_passes_the_self_test_and_one_that_overwrites_does_not
            writers_of_different_partitions_all_commit
            two_writers_of_one_partition_write_every_row_once
            a_zombie_with_an_old_snapshot_is_refused
            a_death_at_any_step_loses_nothing_and_doubles_nothing
            a_lost_answer_is_found_out
            a_commit_in_between_restarts_the_append_at_its_check
            files_without_a_commit_are_swept_by_age
        );
    };
    (@ $place:path, $module:ident: $($case:ident)+) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $case() {
            crate::cases::$module::$case(&$place()).await;
        }
    )+ };
}
