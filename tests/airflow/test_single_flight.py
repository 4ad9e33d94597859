"""One computation for many tasks: waiting, freeing slots, releasing on failure and kill."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from airflow.sdk import DAG, task
from airflow_host import Host, Tally
from engines import everywhere

import flowblob
from flowblob_airflow import cached, calls

CALLS = Tally()


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


def slow(n):
    CALLS.append(n)
    return (n, "x" * 3000)


def dag_of(function, *args):
    with DAG("etl") as dag:
        task(function)(*args)
    return dag


def reserve(store, function, *args):
    """Compute a key elsewhere: hold its reservation."""
    key = flowblob.cached(store=store)(function).key(*args).digest
    got = store.catalog.acquire(
        key, "elsewhere", ttl=timedelta(minutes=1), max_hold=timedelta(minutes=1)
    )
    assert got.reservation is not None
    return got.reservation


def is_free(store, function, *args):
    reservation = reserve(store, function, *args)
    return store.catalog.release(reservation)


def test_a_task_that_would_wait_long_frees_its_slot(store):
    reserve(store, slow, 3)
    host, dag = Host(), dag_of(cached(wait=0.05)(slow), 3)
    result = host.run(dag, "slow")
    assert result.state == "up_for_reschedule"
    assert CALLS == []


def test_how_long_it_waits_and_when_it_looks_again_are_settings(store, monkeypatch):
    monkeypatch.setenv("AIRFLOW__FLOWBLOB__WAIT_SECONDS", "0")
    monkeypatch.setenv("AIRFLOW__FLOWBLOB__RESCHEDULE_SECONDS", "600")
    reserve(store, slow, 3)
    result = Host().run(dag_of(cached(slow), 3), "slow")
    assert seconds_until_the_next_look(result) > 590


def test_it_does_not_look_again_before_the_scheduler_knows_that_it_left(store, monkeypatch):
    monkeypatch.setenv("AIRFLOW__FLOWBLOB__RESCHEDULE_SECONDS", "1")
    reserve(store, slow, 3)
    result = Host().run(dag_of(cached(wait=0.01)(slow), 3), "slow")
    assert seconds_until_the_next_look(result) > 14


def seconds_until_the_next_look(result):
    return (result.msg.reschedule_date - result.msg.end_date).total_seconds()


def test_a_waiting_task_takes_the_result_of_the_other(store):
    started, go_on = threading.Event(), threading.Event()

    def elsewhere():
        def compute():
            started.set()
            go_on.wait(300)
            return (3, "x" * 3000)

        flowblob.cached(store=store)(slow).cached_call.computation((3,), {}).run(compute)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    started.wait(300)
    threading.Timer(0.2, go_on.set).start()
    host, dag = Host(), dag_of(cached(wait=300)(slow), 3)
    host.ran(dag, "slow")
    thread.join()
    assert CALLS == []
    assert host.value(dag, "slow")[0] == 3


def test_a_task_computes_when_the_other_gave_up(store):
    held = reserve(store, slow, 3)
    threading.Timer(0.2, store.catalog.release, [held]).start()
    Host().ran(dag_of(cached(wait=300)(slow), 3), "slow")
    assert CALLS == [3]


def test_a_failed_task_lets_the_next_one_compute(store):
    def fails(n):
        raise OSError("the network")

    assert Host().run(dag_of(cached(fails), 3), "fails").state == "failed"
    assert is_free(store, fails, 3)


@everywhere
def test_a_killed_task_lets_the_next_one_compute(store):
    released = Tally()

    def work(n, ti=None):
        (call,) = calls._active
        held = call.computation.reservation
        ti.task.on_kill()
        released.append((held is not None, store.catalog.release(held)))
        return (n,)

    Host().ran(dag_of(cached(work), 3), "work")
    assert released == [(True, False)]


def test_a_kill_still_calls_the_operators_own_on_kill(store):
    seen = Tally()

    def work(n, ti=None):
        ti.task.on_kill()
        return (n,)

    dag = dag_of(cached(work), 3)
    dag.get_task("work").on_kill = lambda: seen.append("own")
    Host().ran(dag, "work")
    assert seen == ["own"]


def test_nothing_is_held_after_a_task(store):
    Host().ran(dag_of(cached(slow), 3), "slow")
    assert calls._active == set()


def test_without_single_flight_everybody_computes(store):
    reserve(store, slow, 3)
    Host().ran(dag_of(cached(single_flight=False)(slow), 3), "slow")
    assert CALLS == [3]


def test_a_winner_elsewhere_is_what_the_loser_returns(store):
    def wins(n):
        return (n, "winner")

    def race(n, ti=None):
        (call,) = calls._active
        store.catalog.release(call.computation.reservation)
        flowblob.cached(store=store, name="race", version="1")(wins)(n)
        return (n, "loser")

    host, dag = Host(), dag_of(cached(name="race", version="1")(race), 3)
    host.ran(dag, "race")
    assert host.value(dag, "race") == (3, "winner")
