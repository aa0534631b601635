//! Tests on the running kernel: real sockets in network namespaces of their own, traced by the real program.
//!
//! They need root: `cargo xtask test` builds and runs them. They run side by side, as each TIME_WAIT takes its minute, and begin in
//! turn (`turns`). Every story is a file; what they share is in `netns` (places), `tracer` (the program), `traffic` (sockets), `packet`
//! and `hand` (forged segments, and peers that consist of them), `redirect` (nf_tables) and `actor` (other processes).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test that meets what it did not expect has to stop, and its names say what it is"
)]

mod active_close;
mod actor;
mod ages;
mod bursts;
mod doctor;
mod dying;
mod endings;
mod ends;
mod exits;
mod export;
mod export_web;
mod failures;
mod findings;
mod fifty_thousand;
mod filters;
#[path = "../replay/form.rs"]
mod form;
mod formats;
mod guest;
mod half_close;
mod syn_recv;
mod hand;
mod identity;
mod journal;
mod many_cpus;
mod netns;
mod older;
#[path = "../replay/metrics/of_stat.rs"]
mod of_stat;
mod offline;
mod origins;
mod orphans;
mod owners;
mod packet;
mod pods;
mod ports;
mod probes;
mod prometheus;
mod real_server;
mod reasons;
mod recordings;
mod redirect;
mod restarts;
mod rights;
#[path = "../replay/schema/strict.rs"]
mod schema;
mod sources;
mod stat;
mod states;
mod story;
mod story_of_ends;
mod thinned;
mod top;
mod tracer;
mod traffic;
mod turns;
mod withheld;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use crate::{
    netns::{demanding, isolated, watched},
    tracer::Seen,
};

/// The exit code if the tracer that the tests share did not end well, which is no test's failure. The last line says why.
const UNSOUND: u8 = 102;

const V4: &str = "127.0.0.1";
const V6: &str = "::1";

/// The names of the tests after `--these`, with commas between them: the harness itself takes one at most.
fn these() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    arguments.find(|argument| argument == "--these").and_then(|_| arguments.next())
}

fn main() -> ExitCode {
    // The same executable plays the other processes.
    if std::env::args().nth(1).as_deref() == Some(actor::ROLE) {
        actor::play();
        return ExitCode::SUCCESS;
    }
    if std::env::args().nth(1).as_deref() == Some(story::ROLE) {
        return story::record();
    }
    if std::env::args().nth(1).as_deref() == Some(story_of_ends::ROLE) {
        return story_of_ends::record();
    }
    if std::env::args().nth(1).as_deref() == Some(top::ROLE) {
        top::panic_on_a_terminal();
    }
    if guest::is_this() {
        guest::live();
    }
    let these = these();
    let mut arguments = if these.is_some() { Arguments::default() } else { Arguments::from_args() };
    if !arguments.list && !nix::unistd::geteuid().is_root() {
        eprintln!("these tests trace the kernel: run them as root (`cargo xtask test` does)");
        return ExitCode::FAILURE;
    }
    netns::remember_home();
    let mut trials = vec![
        watched("active_close::v4", || active_close::textbook(V4)),
        watched("active_close::v6", || active_close::textbook(V6)),
        watched("active_close::v4_mapped", active_close::v4_mapped),
        watched("active_close::simultaneous_v4", || active_close::simultaneous(V4)),
        watched("active_close::simultaneous_v6", || active_close::simultaneous(V6)),
        isolated("findings::not_closed_v4", || findings::not_closed(V4)),
        isolated("findings::not_closed_v6", || findings::not_closed(V6)),
        isolated("findings::keepalive_in_close_wait_v4", || findings::keepalive_in_close_wait(V4)),
        isolated("findings::keepalive_in_close_wait_v6", || findings::keepalive_in_close_wait(V6)),
        isolated("findings::unanswered", findings::unanswered),
        isolated("findings::accept_queue", findings::accept_queue),
        isolated("findings::ports", findings::ports),
        isolated("findings::ports_that_are_reused", findings::ports_that_are_reused),
        isolated("findings::not_sent", findings::not_sent),
        isolated("findings::nothing", findings::nothing),
        isolated("pods::by_name", pods::by_name),
        isolated("top::shows_the_kernel", top::shows_the_kernel),
        isolated("top::gives_the_terminal_back", top::gives_the_terminal_back),
        isolated("top::a_recording_ends_at_a_signal", top::a_recording_ends_at_a_signal),
        isolated("top::a_panic_gives_the_terminal_back", top::a_panic_gives_the_terminal_back),
        isolated("top::stops_and_goes_on", top::stops_and_goes_on),
        isolated("top::ends_with_its_terminal", top::ends_with_its_terminal),
        isolated("top::nobody_reads_the_terminal", top::nobody_reads_the_terminal),
        isolated("top::ends_although_nobody_reads", top::ends_although_nobody_reads),
        isolated("journal::real_journald", journal::real_journald),
        watched("reasons::reused_auto_port_v4", || reasons::reused_auto_port(V4)),
        watched("reasons::reused_auto_port_v6", || reasons::reused_auto_port(V6)),
        watched("reasons::reused_bound_port_v4", || reasons::reused_bound_port(V4)),
        watched("reasons::reused_bound_port_v6", || reasons::reused_bound_port(V6)),
        watched("reasons::reused_by_syn_v4", || reasons::reused_by_syn(V4)),
        watched("reasons::reused_by_syn_v6", || reasons::reused_by_syn(V6)),
        watched("reasons::reused_by_syn_by_tproxy_v4", || reasons::reused_by_syn_by_tproxy(V4)),
        watched("reasons::reused_by_syn_by_tproxy_v6", || reasons::reused_by_syn_by_tproxy(V6)),
        watched("reasons::reset_v4", || reasons::reset(V4)),
        watched("reasons::reset_v6", || reasons::reset(V6)),
        watched("reasons::reset_sent_v4", || reasons::reset_sent(V4)),
        watched("reasons::reset_sent_v6", || reasons::reset_sent(V6)),
        watched("reasons::destroyed_v4", || reasons::destroyed(V4)),
        watched("reasons::destroyed_v6", || reasons::destroyed(V6)),
        isolated("reasons::netns_is_gone", reasons::netns_is_gone),
        watched("reasons::overflow_v4", || reasons::overflow(V4)),
        watched("reasons::overflow_v6", || reasons::overflow(V6)),
        watched("reasons::overflow_of_an_orphan", || reasons::overflow_of_an_orphan(V4)),
        watched("reasons::overflow_at_close", || reasons::overflow_at_close(V4)),
        watched("reasons::orphan_expires_v4", || reasons::orphan_expires(V4)),
        watched("reasons::orphan_expires_v6", || reasons::orphan_expires(V6)),
        watched("ends::reset_v4", || ends::reset(V4)),
        watched("ends::reset_v6", || ends::reset(V6)),
        watched("ends::by_its_own_process_v4", || ends::by_its_own_process(V4)),
        watched("ends::by_its_own_process_v6", || ends::by_its_own_process(V6)),
        watched("ends::data_after_close_v4", || ends::data_after_close(V4)),
        watched("ends::data_after_close_v6", || ends::data_after_close(V6)),
        watched("ends::destroyed_v4", || ends::destroyed(V4)),
        watched("ends::destroyed_v6", || ends::destroyed(V6)),
        watched("ends::by_timers_v4", || ends::by_timers(V4)),
        watched("ends::by_timers_v6", || ends::by_timers(V6)),
        watched("ends::sent_again_v4", || ends::sent_again(V4)),
        watched("ends::sent_again_v6", || ends::sent_again(V6)),
        watched("ends::connected_again_v4", || ends::connected_again(V4)),
        watched("ends::connected_again_v6", || ends::connected_again(V6)),
        watched("ends::fin_wait_2_v4", || ends::fin_wait_2(V4)),
        watched("ends::fin_wait_2_v6", || ends::fin_wait_2(V6)),
        watched("ends::listener_closed_v4", || ends::listener_closed(V4)),
        watched("ends::listener_closed_v6", || ends::listener_closed(V6)),
        watched("ends::listener_migrates_v4", || ends::listener_migrates(V4)),
        watched("ends::listener_migrates_v6", || ends::listener_migrates(V6)),
        watched("ends::short_of_resources_v4", || ends::short_of_resources(V4)),
        watched("ends::short_of_resources_v6", || ends::short_of_resources(V6)),
        watched("ends::multipath", ends::multipath),
        isolated("ends::older_v4", || ends::older(V4)),
        isolated("ends::older_v6", || ends::older(V6)),
        watched("half_close::of_a_full_socket", half_close::of_a_full_socket),
        watched("half_close::of_an_orphan", half_close::of_an_orphan),
        watched("half_close::silent_fin", half_close::silent_fin),
        watched("syn_recv::handshake_v4", || syn_recv::handshake(V4)),
        watched("syn_recv::handshake_v6", || syn_recv::handshake(V6)),
        watched("syn_recv::late_ack_v4", || syn_recv::late_ack(V4)),
        watched("syn_recv::late_ack_v6", || syn_recv::late_ack(V6)),
        watched("syn_recv::late_ack_of_both", syn_recv::late_ack_of_both),
        watched("syn_recv::made_after_retransmits_v4", || syn_recv::made_after_retransmits(V4)),
        watched("syn_recv::made_after_retransmits_v6", || syn_recv::made_after_retransmits(V6)),
        watched("syn_recv::the_syn_comes_again_v4", || syn_recv::the_syn_comes_again(V4)),
        watched("syn_recv::the_syn_comes_again_v6", || syn_recv::the_syn_comes_again(V6)),
        watched("syn_recv::migrates_at_the_ack", || syn_recv::migrates(false)),
        watched("syn_recv::migrates_at_the_timer", || syn_recv::migrates(true)),
        watched("syn_recv::without_a_listener_v4", || syn_recv::without_a_listener(V4)),
        watched("syn_recv::without_a_listener_v6", || syn_recv::without_a_listener(V6)),
        isolated("syn_recv::older", syn_recv::older),
        watched("syn_recv::timeout_v4", || syn_recv::ends::timeout(V4)),
        watched("syn_recv::timeout_v6", || syn_recv::ends::timeout(V6)),
        watched("syn_recv::reset_v4", || syn_recv::ends::reset(V4)),
        watched("syn_recv::reset_v6", || syn_recv::ends::reset(V6)),
        watched("syn_recv::unreachable_v4", || syn_recv::ends::unreachable(V4)),
        watched("syn_recv::unreachable_v6", || syn_recv::ends::unreachable(V6)),
        watched("syn_recv::listener_closed_at_the_ack_v4", || syn_recv::ends::listener_closed(V4, false)),
        watched("syn_recv::listener_closed_at_the_ack_v6", || syn_recv::ends::listener_closed(V6, false)),
        watched("syn_recv::listener_closed_at_the_timer_v4", || syn_recv::ends::listener_closed(V4, true)),
        watched("syn_recv::listener_closed_at_the_timer_v6", || syn_recv::ends::listener_closed(V6, true)),
        watched("syn_recv::destroyed_v4", || syn_recv::ends::destroyed(V4)),
        watched("syn_recv::destroyed_v6", || syn_recv::ends::destroyed(V6)),
        watched("syn_recv::accept_queue_full", || syn_recv::ends::accept_queue_full(false)),
        watched("syn_recv::accept_queue_full_for_a_while", || syn_recv::ends::accept_queue_full(true)),
        watched("syn_recv::no_data", syn_recv::ends::no_data),
        watched("syn_recv::accept_queue_full_is_answered", syn_recv::ends::accept_queue_full_is_answered),
        isolated("syn_recv::netns_is_gone", syn_recv::ends::netns_is_gone),
        watched("syn_recv::cookies_always", syn_recv::floods::cookies_always),
        watched("syn_recv::fast_open", syn_recv::floods::fast_open),
        watched("failures::no_free_port_v4", || failures::no_free_port(V4)),
        watched("failures::no_free_port_v6", || failures::no_free_port(V6)),
        watched("failures::port_taken_v4", || failures::port_taken(V4)),
        watched("failures::port_taken_v6", || failures::port_taken(V6)),
        watched("failures::refused_v4", || failures::refused(V4)),
        watched("failures::refused_v6", || failures::refused(V6)),
        watched("failures::rejected_v4", || failures::rejected(V4)),
        watched("failures::rejected_v6", || failures::rejected(V6)),
        watched("failures::soft_errors_v4", || failures::soft::errors(V4)),
        watched("failures::soft_errors_v6", || failures::soft::errors(V6)),
        watched("failures::an_old_soft_error", || failures::soft::an_old_error(V4)),
        watched("failures::timed_out_v4", || failures::timed_out(V4)),
        watched("failures::timed_out_v6", || failures::timed_out(V6)),
        watched("failures::unreachable_v4", || failures::unreachable(V4)),
        watched("failures::unreachable_v6", || failures::unreachable(V6)),
        watched("failures::given_up_v4", || failures::given_up(V4)),
        watched("failures::given_up_v6", || failures::given_up(V6)),
        watched("failures::destroyed_v4", || failures::destroyed(V4)),
        watched("failures::destroyed_v6", || failures::destroyed(V6)),
        watched("failures::port_held_by_a_listener", || failures::ports::by_a_listener(&Seen::shared(), V4)),
        watched("failures::restarted_server_v4", || failures::ports::restarted_server(&Seen::shared(), V4)),
        watched("failures::restarted_server_v6", || failures::ports::restarted_server(&Seen::shared(), V6)),
        watched("failures::port_held_by_connections", || failures::ports::by_connections(&Seen::shared(), V4)),
        watched("failures::second_listener", || failures::ports::second_listener(&Seen::shared(), V4)),
        watched("failures::port_held_by_a_bound_socket", || failures::ports::by_a_bound_socket(&Seen::shared(), V4)),
        watched("failures::range_full", || failures::ports::range_full(&Seen::shared(), V4)),
        watched("failures::overlaps", || failures::ports::overlaps(&Seen::shared())),
        watched("failures::fast_open_is_never_sent_v4", || failures::calls::fast_open_is_never_sent(V4)),
        watched("failures::fast_open_is_never_sent_v6", || failures::calls::fast_open_is_never_sent(V6)),
        watched("failures::no_way_v4", || failures::calls::no_way(false)),
        watched("failures::no_way_v6", || failures::calls::no_way(true)),
        watched("failures::bind_is_refused_otherwise", failures::calls::bind_is_refused_otherwise),
        watched("failures::a_search_is_one", failures::calls::a_search_is_one),
        watched("failures::v6only_holds_no_port_of_v4", failures::calls::v6only_holds_no_port_of_v4),
        watched("failures::reuseport_of_two_users", failures::calls::reuseport_of_two_users),
        watched("failures::a_client_has_the_servers_port", failures::calls::a_client_has_the_servers_port),
        watched("failures::multipath", failures::calls::multipath),
        isolated("failures::ports_by_each_hook", failures::ports::by_each_hook),
        isolated("failures::older_holders", failures::older::holders),
        isolated("failures::filters", failures::older::filters),
        watched("restarts::are_counted_v4", || restarts::are_counted(V4)),
        watched("restarts::are_counted_v6", || restarts::are_counted(V6)),
        watched("restarts::by_paws_v4", || restarts::by_paws(V4)),
        watched("restarts::by_paws_v6", || restarts::by_paws(V6)),
        watched("restarts::by_a_chatterer_v4", || restarts::by_a_chatterer(V4)),
        watched("restarts::by_a_chatterer_v6", || restarts::by_a_chatterer(V6)),
        watched("restarts::not_by_an_rst_v4", || restarts::not_by_an_rst(V4)),
        watched("restarts::not_by_an_rst_v6", || restarts::not_by_an_rst(V6)),
        watched("orphans::of_a_long_timeout_expire_v4", || orphans::of_a_long_timeout_expire(V4)),
        watched("orphans::of_a_long_timeout_expire_v6", || orphans::of_a_long_timeout_expire(V6)),
        watched("orphans::of_a_long_timeout_hear_the_fin_v4", || orphans::of_a_long_timeout_hear_the_fin(V4)),
        watched("orphans::of_a_long_timeout_hear_the_fin_v6", || orphans::of_a_long_timeout_hear_the_fin(V6)),
        watched("orphans::linger_less_v4", || orphans::linger_less(V4)),
        watched("orphans::linger_less_v6", || orphans::linger_less(V6)),
        watched("orphans::linger_not_v4", || orphans::linger_not(V4)),
        watched("orphans::linger_not_v6", || orphans::linger_not(V6)),
        watched("owners::on_busy_cpus", owners::on_busy_cpus),
        watched("owners::threads_have_other_names", owners::threads_have_other_names),
        watched("owners::known_after_the_first_read", owners::known_after_the_first_read),
        watched("owners::known_after_the_first_write", owners::known_after_the_first_write),
        watched("owners::who_inherited_a_listener", owners::who_inherited_a_listener),
        watched("owners::the_closer_owns", owners::the_closer_owns),
        isolated("older::established", older::established),
        isolated("filters::select_whole_connections", filters::select_whole_connections),
        isolated("filters::lines_v4", || filters::lines(V4)),
        isolated("filters::lines_v6", || filters::lines(V6)),
        isolated("filters::all_namespaces_but_one", filters::all_namespaces_but_one),
        isolated("identity::two_devices", identity::two_devices),
        isolated("identity::two_vrfs", identity::two_vrfs),
        isolated("identity::an_inode_number_that_another_gets", identity::an_inode_number_that_another_gets),
        isolated("identity::kept_by_a_thread_or_a_file", identity::kept_by_a_thread_or_a_file),
        isolated("identity::reads_that_a_filter_leaves_out", identity::reads_that_a_filter_leaves_out),
        isolated("sources::agree", sources::agree),
        isolated("recordings::replay_says_the_same", recordings::replay_says_the_same),
        isolated("recordings::knows_its_circumstances", recordings::knows_its_circumstances),
        isolated("recordings::killed_leaves_nothing", recordings::killed_leaves_nothing),
        watched("real_server::nginx_and_ab", real_server::nginx_and_ab),
        watched("real_server::nginx_and_curl", real_server::nginx_and_curl),
        isolated("probes::are_as_recorded", probes::are_as_recorded),
        isolated("formats::json_is_as_its_schema_says", formats::json_is_as_its_schema_says),
        isolated("formats::csv_says_what_json_says", formats::csv_says_what_json_says),
        isolated("stat::every_number", stat::every_number),
        isolated("thinned::one_in_eight", thinned::one_in_eight),
        isolated("thinned::too_dear", thinned::too_dear),
        isolated("stat::ctrl_c_in_mid_interval", stat::ctrl_c_in_mid_interval),
        isolated("stat::interval_and_count", stat::interval_and_count),
        isolated("stat::command_and_children", stat::command_and_children),
        isolated("stat::syn_sent_again_v4", || stat::syn_sent_again(V4)),
        isolated("stat::syn_sent_again_v6", || stat::syn_sent_again(V6)),
        isolated("doctor::default_machine", doctor::default_machine),
        isolated("doctor::time_wait_is_skipped", doctor::time_wait_is_skipped),
        isolated("doctor::settings_without_effect", doctor::settings_without_effect),
        isolated("doctor::a_file_with_tcp_tw_recycle", doctor::a_file_with_tcp_tw_recycle),
        isolated("doctor::ports_run_out", doctor::opening::ports_run_out),
        isolated("doctor::accept_queue", doctor::opening::accept_queue),
        isolated("doctor::who_accepts", doctor::opening::who_accepts),
        isolated("doctor::listen_backlog", doctor::opening::listen_backlog),
        isolated("doctor::syn_queue", doctor::opening::syn_queue),
        isolated("doctor::syn_backlog", doctor::opening::syn_backlog),
        isolated("doctor::syn_recv_resets", doctor::opening::syn_recv_resets),
        isolated("doctor::failed_attempts", doctor::opening::failed_attempts),
        isolated("doctor::paws", doctor::closing::paws),
        isolated("doctor::late_segments", doctor::closing::late_segments),
        isolated("doctor::close_wait", doctor::closing::close_wait),
        isolated("doctor::not_accepted", doctor::closing::not_accepted),
        isolated("doctor::fin_wait2_orphans", doctor::closing::fin_wait2_orphans),
        isolated("doctor::fin_wait2_held_v4", || doctor::closing::fin_wait2_held(V4)),
        isolated("doctor::fin_wait2_held_v6", || doctor::closing::fin_wait2_held(V6)),
        isolated("doctor::zero_window_v4", || doctor::closing::zero_window(V4)),
        isolated("doctor::zero_window_v6", || doctor::closing::zero_window(V6)),
        isolated("doctor::last_ack_v4", || doctor::closing::last_ack(V4)),
        isolated("doctor::last_ack_v6", || doctor::closing::last_ack(V6)),
        isolated("doctor::given_up", doctor::closing::given_up),
        isolated("doctor::resets", doctor::closing::resets),
        isolated("doctor::namespaces", doctor::namespaces),
        isolated("doctor::not_root", doctor::not_root),
        isolated("states::against_ss_v4", || states::against_ss(V4)),
        isolated("states::against_ss_v6", || states::against_ss(V6)),
        isolated("states::v4_mapped", states::v4_mapped),
        isolated("states::time_left_v4", || states::time_left(V4)),
        isolated("states::time_left_v6", || states::time_left(V6)),
        isolated("states::owners", states::owners),
        isolated("states::of_every_namespace", states::of_every_namespace),
        isolated("states::not_root", states::not_root),
        isolated("states::again_and_again", states::again_and_again),
        isolated("ages::listed_alone_v4", || ages::listed_alone(V4)),
        isolated("ages::listed_alone_v6", || ages::listed_alone(V6)),
        isolated("ages::older_than_v4", || ages::older_than(V4)),
        isolated("ages::older_than_v6", || ages::older_than(V6)),
        isolated("ages::an_overtaken_fin_v4", || ages::an_overtaken_fin(V4)),
        isolated("ages::an_overtaken_fin_v6", || ages::an_overtaken_fin(V6)),
        isolated("ages::listed_again_v4", || ages::listed_again(V4)),
        isolated("ages::listed_again_v6", || ages::listed_again(V6)),
        isolated("ages::traced_v4", || ages::traced(V4)),
        isolated("ages::traced_v6", || ages::traced(V6)),
        isolated("ports::run_out_when_forecast_v4", || ports::run_out_when_forecast(V4)),
        isolated("ports::run_out_when_forecast_v6", || ports::run_out_when_forecast(V6)),
        isolated("ports::reuse_keeps_them_steady", ports::reuse_keeps_them_steady),
        isolated("ports::of_a_pool_are_steady", ports::of_a_pool_are_steady),
        isolated("ports::forecast_as_in_the_documents", ports::forecast_as_in_the_documents),
        isolated("ports::listing", ports::listing),
        isolated("origins::server_gone_v4", || origins::server_gone(V4)),
        isolated("origins::server_gone_v6", || origins::server_gone(V6)),
        isolated("origins::server_goes_v4", || origins::server_goes(V4)),
        isolated("origins::server_goes_v6", || origins::server_goes(V6)),
        isolated("origins::to_itself_v4", || origins::to_itself(V4)),
        isolated("origins::to_itself_v6", || origins::to_itself(V6)),
        isolated("origins::restored_v4", || origins::restored(V4)),
        isolated("origins::restored_v6", || origins::restored(V6)),
        isolated("origins::bound_v4", || origins::bound(V4)),
        isolated("origins::bound_v6", || origins::bound(V6)),
        isolated("origins::opens_and_failures", origins::opens_and_failures),
        isolated("exits::broken_pipe", exits::broken_pipe),
        isolated("exits::not_root", exits::not_root),
        isolated("exits::duration", exits::duration),
        isolated("endings::nobody_reads", endings::nobody_reads),
        isolated("export::counts_as_the_kernel", export::counts_as_the_kernel),
        isolated("export::inherits_sockets", export::inherits_sockets),
        isolated("export::has_no_rights", export::has_no_rights),
        isolated("export::bad_clients", export::bad_clients),
        isolated("export::ends", export::ends),
        isolated("rights::all", rights::all),
        isolated("rights::the_needed_three", rights::the_needed_three),
        isolated("rights::one_is_missing", rights::one_is_missing),
        isolated("rights::of_the_exporter", rights::of_the_exporter),
        isolated("export_web::tls_and_users", export_web::tls_and_users),
        isolated("export_web::http2", export_web::http2),
        isolated("export_web::client_certificates", export_web::client_certificates),
        isolated("export_web::changed_files", export_web::changed_files),
        isolated("export_web::slow_handshakes", export_web::slow_handshakes),
        isolated("export::says_what_stat_says", export::says_what_stat_says),
        isolated("export::nobody_reads_a_recording", export::nobody_reads_a_recording),
        isolated("prometheus::promtool_agrees", prometheus::promtool_agrees),
        isolated("prometheus::a_recording_becomes_graphs", prometheus::a_recording_becomes_graphs),
        isolated("prometheus::queries", prometheus::queries),
        isolated("prometheus::two_of_them", prometheus::two_of_them),
        isolated("prometheus::native_histograms", prometheus::native_histograms),
        isolated("endings::the_doctor_is_hurried", endings::the_doctor_is_hurried),
        isolated("endings::a_full_disk", endings::a_full_disk),
        isolated("endings::reader_goes", endings::reader_goes),
        isolated("endings::hangs_up", endings::hangs_up),
        isolated("endings::new_recording", endings::new_recording),
        isolated("endings::a_filter_holds_for_every_record", endings::a_filter_holds_for_every_record),
        isolated("endings::killed_beside_its_command", endings::killed_beside_its_command),
        isolated("endings::a_command_that_goes_on", endings::a_command_that_goes_on),
        isolated("endings::in_little_memory", endings::in_little_memory),
        isolated("endings::capabilities", endings::capabilities),
        demanding("offline::its_timers_move", offline::its_timers_move),
        // Those that take all of the machine for a while come last, so that they are in nobody's way. The first is about a TIME_WAIT, which ends
        // after a minute: where a machine is emulated, a tracer beside many others takes as long to start.
        demanding("older::time_wait", older::time_wait),
        demanding("syn_recv::many_short_ones", syn_recv::many_short_ones),
        watched("syn_recv::flood_without_cookies", syn_recv::floods::without_cookies),
        watched("syn_recv::flood_with_cookies", syn_recv::floods::with_cookies),
        watched("failures::as_many_as_the_kernel_counts", failures::as_many_as_the_kernel_counts),
        demanding("fifty_thousand::agree_with_the_kernels_counters", fifty_thousand::agree_with_the_kernels_counters),
        demanding("fifty_thousand::begun_and_ended_in_the_middle", fifty_thousand::begun_and_ended_in_the_middle),
        demanding("many_cpus::their_records_are_merged", many_cpus::their_records_are_merged),
        demanding("bursts::of_a_whole_bucket", bursts::of_a_whole_bucket),
        demanding("stat::a_hundred_thousand_agree", stat::a_hundred_thousand_agree),
        demanding("stat::what_is_lost_is_accounted_for", stat::what_is_lost_is_accounted_for),
        demanding("dying::ten_thousand_resets", dying::ten_thousand_resets),
        demanding("dying::ten_ways", dying::ten_ways),
        demanding("doctor::conntrack_is_full", doctor::conntrack_is_full),
        demanding("prometheus::alerts", prometheus::alerts),
        demanding("states::many_time_waits", states::many_time_waits),
        demanding("exits::fail_on_loss", exits::fail_on_loss),
    ];
    if std::env::var_os("TCPWAIT_TESTS").is_some_and(|which| which == "watched") {
        trials.retain(|trial| netns::is_watched(trial.name()));
    }
    if let Some(these) = these {
        trials.retain(|trial| these.split(',').any(|name| name == trial.name()));
    }
    // With more at once, each with its tracer, every event of the machine passes through all of them.
    const AT_ONCE: usize = 50;
    let at_once = guest::tests_at_once().unwrap_or(AT_ONCE);
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(at_once));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Err(why) = tracer::end_shared() {
        println!("unsound: {why}");
        return ExitCode::from(UNSOUND);
    }
    conclusion.exit_code()
}
