"""One device, two needs: what fits, what a person is told, and the base that goes away and comes back."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from tiny import write_adapter
from tiny_base import write_tiny_base

import engine as engine_room
import store
from engine import Decoding, EngineError, Request, Variant, room
from engine.bank import Bank
from tuning.jobs import memory, queue, watcher
from tuning.train.settings import Settings

GIB = 2**30
SHORT = Decoding(max_new_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_base(tmp_path_factory.mktemp("memory") / "base")


@pytest.fixture
def tiny(folder, tmp_path):
    """A base with an adapter on it."""
    loaded = engine_room.load(str(folder), format="bayling", device="cpu", dtype="fp32", say=lambda _line: None)
    model = loaded.base.model
    loaded.add_adapter(write_adapter(tmp_path / "other", model.__class__(model.config), base="base"))
    return loaded


def asked(adapter=None):
    variant = Variant(adapters={adapter: 1.0} if adapter else {}, decoding=SHORT)
    # nothing of it is kept: each time it is computed anew, the same to the last bit
    return Request([{"role": "user", "content": "Who are you?"}], variant, goes_on=False)


def both(tiny):
    answers = tiny.answer([asked(), asked("other")])
    return [(answer.raw, answer.mean_logprob) for answer in answers]


# --- moving --------------------------------------------------------------------------------------------------------------


def test_a_base_that_was_moved_and_brought_back_answers_as_before(tiny):
    before = both(tiny)
    assert before[0] != before[1]
    # no second device here: another number format copies every tensor all the same, and these numbers come back exactly
    tiny.bank.move(torch.float64)
    assert {parameter.dtype for parameter in tiny.base.model.parameters()} == {torch.float64}
    tiny.bank.move(torch.float32)
    assert both(tiny) == before
    tiny.remove_adapter("other")
    assert alone(tiny)[0] == before[0][0]


def alone(tiny):
    [answer] = tiny.answer([asked()])
    return answer.raw, answer.mean_logprob


@pytest.mark.parametrize("tied", [True, False])
def test_moving_keeps_one_copy_of_every_weight(tmp_path, tied):
    tiny = engine_room.load(
        str(write_tiny_base(tmp_path / "base", tie_word_embeddings=tied)), format="bayling", dtype="fp32", say=lambda _line: None
    )
    model, size = tiny.base.model, tiny.bank.size()
    tiny.bank.move(torch.float64)
    assert tiny.bank.size() == pytest.approx(2 * size, rel=0.01)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    for group in tiny.bank.groups:
        assert len({linear.weight.untyped_storage().data_ptr() for linear in group.linears}) == 1


def test_an_adapter_may_come_and_go_while_the_base_is_away(tiny, tmp_path):
    before = both(tiny)
    tiny.bank.move(torch.float64)
    model = tiny.base.model
    tiny.add_adapter(write_adapter(tmp_path / "third", model.__class__(model.config), seed=7, base="base"))
    tiny.bank.move(torch.float32)
    # the weights are the same, and lie elsewhere: on some CPUs the last digit of a sum depends on that
    assert both(tiny) == [(raw, pytest.approx(logprob, abs=1e-5)) for raw, logprob in before]
    assert tiny.answer([asked("third")])[0].raw != before[0][0]


def test_asking_a_parked_base_is_answered_with_the_reason_and_then_it_is_back(tiny):
    before = both(tiny)
    tiny.park("The base is parked in CPU memory while job 3 (mira) trains on cuda:0.")
    for ask in (lambda: tiny.answer([asked()]), lambda: list(tiny.stream([asked()]))):
        with pytest.raises(EngineError, match=r"^The base is parked in CPU memory while job 3 \(mira\) trains on cuda:0\.$"):
            ask()
    tiny.unpark()
    tiny.unpark()
    assert both(tiny) == before


def test_a_base_that_does_not_fit_back_stays_parked_says_so_and_loses_nothing(tiny, monkeypatch):
    before, moves = both(tiny), []

    def move(device):
        moves.append(device.type)
        Bank.move(tiny.bank, torch.device("cpu"))
        if moves == ["cuda"]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    on_gpu(tiny, monkeypatch)
    monkeypatch.setattr(tiny.bank, "move", move)
    tiny.parked = "away"
    with pytest.raises(EngineError, match="does not fit on cuda:0 yet"):
        tiny.unpark()
    assert moves == ["cuda", "cpu"]
    with pytest.raises(EngineError, match="does not fit on cuda:0 yet"):
        tiny.answer([asked()])
    monkeypatch.undo()
    tiny.parked = ""
    assert both(tiny) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_parking_frees_the_gpu(folder):
    loaded = engine_room.load(str(folder), format="bayling", device="cuda", dtype="fp32", say=lambda _line: None)
    before, held = alone(loaded), torch.cuda.memory_allocated()
    loaded.park("away")
    assert torch.cuda.memory_allocated() <= held - 0.9 * loaded.bank.size()
    assert {parameter.device.type for parameter in loaded.base.model.parameters()} == {"cpu"}
    loaded.unpark()
    assert alone(loaded) == before


# --- what fits -----------------------------------------------------------------------------------------------------------


def on_gpu(tiny, monkeypatch):
    monkeypatch.setattr(tiny, "base", SimpleNamespace(device=torch.device("cuda:0"), model=tiny.base.model, quantized=""))


@pytest.fixture
def gpu(tiny, db_path, monkeypatch):
    """A GPU of 16 GiB at the edge: the chat's base takes 13 of it, a parked one nothing."""
    place = SimpleNamespace(engine=tiny, db=db_path, total=16 * GIB, others=0, limits=[])
    on_gpu(tiny, monkeypatch)
    monkeypatch.setattr(tiny.bank, "move", lambda device: None)
    monkeypatch.setattr(tiny.bank, "size", lambda: 13 * GIB)

    def free(_device=None):
        return place.total - place.others - (0 if tiny.parked else 13 * GIB), place.total

    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _device: place.limits.append(share))
    yield place
    for left in store.jobs.active(db_path):
        watcher.send_all(left, signal.SIGKILL)


@pytest.mark.parametrize(
    "needed, says",
    [
        (2, "The run needs about 2.0 GiB on cuda:0, and 3.0 GiB are free."),
        (8, "The run needs about 8.0 GiB on cuda:0, and 3.0 GiB are free; 16.0 GiB with the chat's base parked in CPU memory."),
        (20, "The run needs about 20.0 GiB on cuda:0, and only 16.0 GiB are free, even with the chat's base parked in CPU "
             "memory; use a smaller --pack_tokens or --load_in_4bit, or free some memory."),
    ],
)  # fmt: skip
def test_a_person_is_told_what_fits_whether_the_base_is_parked_or_not(gpu, needed, says):
    for parked in ("", "away"):
        gpu.engine.parked = parked
        assert memory.find_room(needed * GIB, "cuda:0", gpu.engine).sentence == says


def test_parking_is_not_offered_where_it_would_not_help(gpu):
    gpu.engine.parked = "away"
    other = memory.find_room(20 * GIB, "cuda:1", gpu.engine)
    assert not other.fits_parked and "parked" not in other.sentence
    here = memory.find_room(10**15, "cpu", gpu.engine)
    assert not here.fits and "parked" not in here.sentence


def test_the_cpus_free_memory_ends_at_the_containers_limit(tmp_path, monkeypatch):
    whole = room.free_bytes("cpu")
    assert whole > 0
    (tmp_path / "memory.max").write_text("1000000")
    (tmp_path / "memory.current").write_text("400000")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000\n")
    monkeypatch.setattr(room, "CGROUPS", tmp_path)
    assert room.free_bytes("cpu") == 650_000
    (tmp_path / "memory.max").write_text("max\n")
    assert room.free_bytes("cpu") > 650_000


def test_the_estimate_grows_with_what_it_depends_on(folder):
    plain = dict(base_model=str(folder), data_path="x", output_dir="y", device="cpu", dtype="fp32", pack_tokens=512)
    least = memory.needed_bytes(Settings(**plain))
    assert least > memory.PROCESS_BYTES["cpu"]
    assert memory.needed_bytes(Settings(**plain | {"pack_tokens": 4096})) > least
    assert memory.needed_bytes(Settings(**plain | {"lora_r": 256})) > least
    assert memory.needed_bytes(Settings(**plain | {"dtype": "bf16"})) < least
    assert memory.needed_bytes(Settings(**plain | {"packing": False, "cutoff_len": 128})) < least
    with pytest.raises(EngineError, match="no-such-base"):
        memory.needed_bytes(Settings(**plain | {"base_model": "no-such-base"}))


def test_a_base_that_is_about_to_leave_is_not_taken_for_gone(gpu, monkeypatch):
    """Its memory is still in use, and whoever also asks for it to go waits until it has."""
    waits, go = threading.Event(), threading.Event()
    without = gpu.engine.answering.without

    @contextlib.contextmanager
    def slow(adapter=None):
        waits.set()
        go.wait(20)
        with without(adapter):
            yield

    monkeypatch.setattr(gpu.engine.answering, "without", slow)
    both = [threading.Thread(target=gpu.engine.park, args=(f"park {at}",)) for at in range(2)]
    both[0].start()
    assert waits.wait(20)
    both[1].start()
    told = memory.find_room(8 * GIB, "cuda:0", gpu.engine)
    assert not gpu.engine.parked and not told.fits and told.fits_parked
    with pytest.raises(EngineError, match="park 0"):
        gpu.engine.ready()
    assert both[1].is_alive()
    go.set()
    for thread in both:
        thread.join(20)
    assert gpu.engine.parked == "park 1" and not gpu.engine.leaving
    gpu.engine.unpark()
    gpu.engine.ready()


# --- jobs beside the chat ------------------------------------------------------------------------------------------------


def job(gpu, tmp_path, gib, name="mira", park=True):
    folder = tmp_path / name
    command = ["-m", "tests.support.fake_trainer", "--output_dir", str(folder), "--pause", "-1"]
    return queue.enqueue_command(gpu.db, command, folder, device="cuda:0", needs_bytes=int(gib * GIB), park=park)


def tick(gpu):
    queue.tick(gpu.db, memory.admission(gpu.engine, gpu.db))
    memory.settle_admission(gpu.engine, gpu.db)


def until_ended(gpu, id):
    queue.stop(gpu.db, id)
    for _ in range(2000):
        tick(gpu)
        if store.jobs.get(gpu.db, id)["status"] in store.jobs.ENDED:
            return
        time.sleep(0.02)
    raise AssertionError("the job does not end")


def test_the_base_is_parked_for_a_job_that_needs_it_and_comes_back_by_itself(gpu, tmp_path):
    id = job(gpu, tmp_path, 8)
    tick(gpu)
    assert store.jobs.get(gpu.db, id)["status"] == "starting"
    with pytest.raises(EngineError, match=rf"while job {id} \(mira\) trains on cuda:0; it comes back by itself"):
        gpu.engine.answer([asked()])
    tick(gpu)
    assert gpu.engine.parked
    until_ended(gpu, id)
    assert not gpu.engine.parked
    assert gpu.engine.limit is None


def test_an_app_that_is_started_while_such_a_job_runs_parks_its_base(gpu, tmp_path):
    id = job(gpu, tmp_path, 8)
    tick(gpu)
    gpu.engine.parked = ""  # what a new app's engine is like
    memory.settle_admission(gpu.engine, gpu.db)
    assert f"job {id}" in gpu.engine.parked
    until_ended(gpu, id)


def test_a_quantised_base_stays_and_the_job_waits(gpu, tmp_path):
    gpu.engine.base.quantized = "nf4"
    job(gpu, tmp_path, 8)
    tick(gpu)
    [waiting] = store.jobs.unfinished(gpu.db)
    assert waiting["status"] == "queued" and not gpu.engine.parked
    assert waiting["message"].startswith("Waiting for memory: the run needs about 8.0 GiB on cuda:0, and only 3.0 GiB are free;")


def test_without_leave_the_base_stays_and_the_job_waits(gpu, tmp_path):
    id = job(gpu, tmp_path, 8, park=False)
    tick(gpu)
    waiting = store.jobs.get(gpu.db, id)
    assert waiting["status"] == "queued" and not gpu.engine.parked
    assert waiting["message"].startswith("Waiting for memory: the run needs about 8.0 GiB on cuda:0, and 3.0 GiB are free;")


def test_a_small_job_runs_beside_the_chat_which_leaves_it_its_memory(gpu, tmp_path):
    id = job(gpu, tmp_path, 2)
    tick(gpu)
    assert not gpu.engine.parked
    assert gpu.engine.limit == 14 * GIB and gpu.limits == [14 / 16]
    tick(gpu)
    assert gpu.limits == [14 / 16]
    until_ended(gpu, id)
    assert gpu.engine.limit is None and gpu.limits == [14 / 16, 1.0]


def test_a_job_that_does_not_fit_even_so_leaves_the_base_alone(gpu, tmp_path):
    gpu.others = 2 * GIB
    id = job(gpu, tmp_path, 15)
    tick(gpu)
    assert store.jobs.get(gpu.db, id)["status"] == "queued" and not gpu.engine.parked


def test_a_job_gets_the_memory_that_the_chat_keeps(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.engine.kept, "bytes", 2 * GIB)
    gpu.others = 2 * GIB  # what is kept, as the device sees it
    monkeypatch.setattr(gpu.engine.kept, "clear", lambda: setattr(gpu, "others", 0))
    assert memory.find_room(int(2.5 * GIB), "cuda:0", gpu.engine).fits
    id = job(gpu, tmp_path, 2.5)
    tick(gpu)
    assert store.jobs.get(gpu.db, id)["status"] != "queued" and gpu.others == 0 and not gpu.engine.parked
    until_ended(gpu, id)
