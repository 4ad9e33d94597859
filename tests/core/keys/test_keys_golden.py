"""Pinned digests: a change here makes every entry of every store a miss.

The tables hold for every Python version and process. If a rule must change, raise the scheme
(`SCHEME`, `fb1`) with it; never edit a line for its own sake.
"""

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import fractions
import functools
import importlib.util
import ipaddress
import os
import re
import subprocess
import sys
import types
import uuid
import zoneinfo
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from flowblob.keys import Recipe, function_identity, value_digest
from flowblob.model import Ref


def _sample() -> Any:
    # By path, so that pytest neither rewrites its code nor gives it a name of its own.
    file = Path(__file__).with_name("keys_sample.py")
    spec = importlib.util.spec_from_file_location("keys_sample", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["keys_sample"] = module
    spec.loader.exec_module(module)
    return module


sample = _sample()
CYCLE: list[Any] = [1]
CYCLE.append(CYCLE)

VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "int 1": 1,
    "int -1": -1,
    "large int": 1 << 100,
    "float 1": 1.0,
    "zero": 0.0,
    "negative zero": -0.0,
    "nan": float("nan"),
    "text": "1",
    "umlaut": "é",
    "surrogate": "\ud800",
    "bytes": b"1",
    "bytearray": bytearray(b"1"),
    "large bytes": b"x" * 100_000,
    "tuple": (1,),
    "list": [1],
    "nested": [[1, ("a", b"b", None)], {"k": [True, 1.5]}],
    "dict": {"a": 1, "b": 2},
    "dict in another order": {"b": 2, "a": 1},
    "int key": {1: 2},
    "text key": {"1": 2},
    "long list": list(range(5000)),
    "list of texts": [f"item {at}" for at in range(3000)],
    "set": {"b", "a", "c"},
    "set of ints": {3, 1, 2},
    "mixed set": {1, "1", b"1", None, (1, 2), 1.5},
    "frozenset": frozenset({"b", "a"}),
    "nested sets": [{frozenset({"a", "b"}), frozenset()}, {"x": {"b", "a"}}],
    "cycle": CYCLE,
    "complex": 1 + 2j,
    "range": range(1, 9, 2),
    "slice": slice(1, None, 2),
    "ellipsis": ...,
    "datetime": dt.datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
    "zoned": dt.datetime(2020, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    "date": dt.date(2020, 1, 2),
    "time": dt.time(1, 2, 3),
    "timedelta": dt.timedelta(days=1, microseconds=2),
    "decimal": decimal.Decimal("1.10"),
    "fraction": fractions.Fraction(1, 3),
    "uuid": uuid.UUID(int=5),
    "ip": ipaddress.ip_address("10.0.0.1"),
    "pure path": PurePosixPath("a/b.txt"),
    "pattern": re.compile("a.b", re.IGNORECASE),
    "ordered dict": collections.OrderedDict(a=1),
    "default dict": collections.defaultdict(list, a=[1]),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2], 3),
    "array": array.array("d", [1.0, 2.0]),
    "memoryview": memoryview(b"ab"),
    "namespace": types.SimpleNamespace(b=1, a=2),
    "class": int,
    "generic alias": dict[str, list[int]],
    "union": int | None,
    "builtin": len,
    "partial": functools.partial(int, base=2),
    "ref": Ref("models/churn", alias="prod"),
    "error": ValueError("a", 1),
    "enum": sample.Color.RED,
    "named tuple": sample.Pair(1),
    "dataclass": sample.Config(),
    "instance": sample.Deep(sample.Config(rate=1.0)),
    "own class": sample.Config,
    "own function": sample.helper,
    "own method": sample.Model(sample.Config()).fit,
    "instances and sets": [sample.Config(), {"b", "a"}, sample.Color.BLUE],
}

VALUE_DIGESTS: dict[str, str] = {
    "none": "b3:f4b2fc054e7a2ffa8a47a3f1548c37a95588a16901541ae9b26e0dcc83fbc39b",
    "true": "b3:e8dfb628fc3a7a36c7ce53d1da0742dd5f1979500089a238e0afca660e1e1570",
    "int 1": "b3:0899d23107e36e377cfac69787a6cbd0adcca72afa6ff548b05b6d993546dff2",
    "int -1": "b3:bd40556c50afc0c46ecaa04be35e4eafd7f19a91a8ccf90d8ea54e477cdfaedf",
    "large int": "b3:3e5f3289839a4f9a762d1ad7435ddf7f9e3ea4cccb544490ea07f1b27d6956a3",
    "float 1": "b3:3a8e833ea0718c970e321d08b9b25400509f9496aa9f8aa935440e8d9345937d",
    "zero": "b3:a9f8e344b1b67d52a00c282b442449761ebe1d9b64522fdfc4ce90980fe54127",
    "negative zero": "b3:4868ba2d0bfeda22873659bcedb1b4d4dc9b55bb7ef8bd548dce831d28ded18d",
    "nan": "b3:6bc2eddef5e8882b8be1f2b91ddd38a39fb821657f0f0dedbfc68bede563f379",
    "text": "b3:e8a690d0148bc8ba8b41b9f81752e2262e7b984fb10a0f7ccb0a30fcf6679344",
    "umlaut": "b3:9532f6bfd9e46b03c437ba464a127ecfd97a17732cf237cdd633219f06152416",
    "surrogate": "b3:dff9ac3b8099396c153560dcb766e6cf169a7e68137857a6e6f39a7c05b657d4",
    "bytes": "b3:f276c523c22f1edc5397f7bb9a9839a495799c8a6c64572331aba5c69c59a7d4",
    "bytearray": "b3:994a4edc0c6130d2f38bcf91f9323acf938747b0ae5d180901ec31f07829e7ae",
    "large bytes": "b3:bdc73e2494e2fe24289d1a6bfdf723766d210801ba0be15843270c731842fac8",
    "tuple": "b3:76f17cae9d6fcc254275e53fb4f2269317a9ab231cc451026cedfae858f4c393",
    "list": "b3:99e023f831578f2eade0c700cbef0613dcc2eecc044001490074b5773a0a2a54",
    "nested": "b3:f095e4de148d471e6224f08be060f5e99e481d5a8d706a574000832ac59689ea",
    "dict": "b3:37038d130d83cb65189416c6f7ea923b4179dd7137d55adb61530c2a14c09380",
    "dict in another order": "b3:ed2a94d5b7515f5e6d8795f7e3350e0ca2f4877a326121a53a7b9305b8d6f26c",
    "int key": "b3:9f4dc1a945ab0f3700b12f10c12aab6a3b4b7b0787820b27cc93119906948b55",
    "text key": "b3:756512de6d8bc37ee7ac8a2d4f19196196c05dbb3cc057a98245d4b8f6a7a297",
    "long list": "b3:6dc5c53e551dcb0f8a92cfb9d93f097512f8c807c1eb528689b75e4c804fd982",
    "list of texts": "b3:99a36ae7ea438e3ee2a241bc73a7b48bcec8621551df07cef7f9b5e176f4de67",
    "set": "b3:04bb3ea0bfb0358df7cf91d0f52ac53bfa54e65115dea900dff96ecc80ee2469",
    "set of ints": "b3:21e376eed78516e60ace3e16a8e590a0bd16569d2070ad7ef315f0614f113f90",
    "mixed set": "b3:96e93ac279a88a777708d0bdac3d3c6f88b3a1489a2fdea626a7edfd100ebd4d",
    "frozenset": "b3:4f6b6f692daedf18d17f54a8a3373eefa8ecf0a54c0786d1f309aa2aa58ea222",
    "nested sets": "b3:f2bbb8d832a0b3fce89ac08e6ec8c5b11fb65bac23b2e7ee0f60ba76c0f3b703",
    "cycle": "b3:43bf836dc37bbce4ef36095e23719b633d62ec8949f56bfaa42a760aad07bf35",
    "complex": "b3:9588396bfd985646c1a019a715b28174312e225134495b2a72d0b75c77877045",
    "range": "b3:b89d54ef5eed1c47e1afe5faa7c0b944313268fec41dfef1408984127ec9d540",
    "slice": "b3:3890035d5213142e4b417072ac1974f49d3b3b4c04290b34f4c327ab00eaa194",
    "ellipsis": "b3:b9aa845a9757a6a0aaf9d5e4b1a688ac5ce7c7bf1db9f110b217924466d46282",
    "datetime": "b3:d75e41d58741f85cc3378589db8ca8467f9b7a5a4003ffcafd548e3664822f51",
    "zoned": "b3:9bfac5aa974891124062824bb90687b0d71cd9eaac22036d2a38cc60a73cb255",
    "date": "b3:89c8cfb6c168b893fbcfd821c6a5e9467620c9f115a38c8b3f759a4ac63f264d",
    "time": "b3:1e879ce9697a23bd2a7b3831ab664af5f645948abd6ae9e7c8f276f3fcf0abb8",
    "timedelta": "b3:63f0716da48d46e16e26a567dd9917f890a5a10f1d73e3aaeaae33725d34b251",
    "decimal": "b3:9a1b5e86b2a19dbead2f4abc6831444df4223619cabe17385ac098b4d5ca9505",
    "fraction": "b3:2e373941b9665aeec30bb29cf3d0e865304ef86f5a3ee284ea8dcd660a54551d",
    "uuid": "b3:894cc9b6c4db4e622bb42536ac50406cd2d819b340b52bdc6e258146c922c817",
    "ip": "b3:7b488c9454bf62a295cabf48805d39c47175bb31e6dbcdd80c3d7782ce3e94c9",
    "pure path": "b3:7a3f51d4ce64ef67bcea7ade9b40b4226737604695d92abff96721191aa12606",
    "pattern": "b3:ae487736af39261d9ee8ec2fc0702b852a03e2fd524208e98317362c4e10adb0",
    "ordered dict": "b3:83f6f3a526d119be303da700e883628041fd7e0b39487982a36136cc8662402d",
    "default dict": "b3:11574c586f9d9129f92978f9762286da7cd971e733d2d1f685b0942ff24bfa4e",
    "counter": "b3:d98de4e25de338eb6e853fb43c0944a4d73cb0fe7bf19089706182ea4be9389e",
    "deque": "b3:c4428b0d433607996a1764f370c0bb6ddfd68292328a584f6af82008ae219d8d",
    "array": "b3:d95a38fe076de418863ac556d3eea8018178f789db825c2e5f09540bcefbdcb7",
    "memoryview": "b3:ca1d169914504dcff1a9b69cd46feb734dfcd9918d4c26e5610c64d8e366e007",
    "namespace": "b3:535b11b053658a54008653342985c632f8442fc9ba643494c52c484986a68f0e",
    "class": "b3:f89816dc20a3ab8e14d36a3435e4cb2885a8491cbdc7a7b81fb9e850de3e36c1",
    "generic alias": "b3:20a60e8f04e540fd9faa2da02c80ecdd7276492689572160c58f58adff6dc4b5",
    "union": "b3:3b3c278dfa345c3aac6a915ef7224561c958defcf3e4b8b7587c942afd75fc7c",
    "builtin": "b3:b2ae061265dac6c9954f0777058657dfbc2db0b649ea2b67b292c1bbe5bcf85c",
    "partial": "b3:493dacf7d1c0573d72ce85c8a4772e180a8193ba980ee71b299636d47ba735df",
    "ref": "b3:e40958a7567f07927609720f4a0984d79eade4921702cbf6d9c6e1952c7f6a40",
    "error": "b3:ff793bfdba8b417cbc579736f09a1a757072dce0f50abc220bc59af51da250cc",
    "enum": "b3c:2092a8dbb890e14cf00130426f9c0c238d6a8f3b19409d6098d4dbca87b04207",
    "named tuple": "b3c:a33d86b65f9784ee85340925f786a6ea15e179948955116d157d7ccc5b56ef04",
    "dataclass": "b3c:7a8a2d45514b47991928809098c74713114e67d457c4c3305b93e0427292cdc7",
    "instance": "b3c:361b62850fdbeccba8c2099946fd3e9da91512ba5d18e387a379d4580b8fc0c0",
    "own class": "b3c:aadbaaa933e4dd71b6a996238d9284441124c32b1ce62d775eeeb32a042c89bc",
    "own function": "b3c:0755211710b3748296e8569cad8427d1aee75a5fa90fcbcccf61518f7b4267f4",
    "own method": "b3c:20a1486da981726c01efa0226392620ec4566eb76af8a98a0023fb2778828b3e",
    "instances and sets": "b3c:071a2612098b823c2fd7b9c33715e3eba589d628fd79afa6742ff78bb58f7da9",
}

CODE_DIGESTS: dict[str, str] = {
    "helper": "b3:aabe211e3d437d0813283309018a317ae03f2ab6472fab008c111dd569b25b48",
    "wrapped": "b3:f54a04660f37000439ef64c3cb0a8021d3ca7bdb1bf0af1d200a53b2a5b0e66d",
    "triple": "b3:f587f02e2ea49c18e977caf046250895a6d784981778dd42f898f93779eb8f29",
    "even": "b3:9fab5710fd53ea2e9021fa84207b8718c0d4d5bdfc9dd7ac2fa8345291ef0d4c",
    "odd": "b3:a65980b7051f18725712c3dd5495c901623e800f2c522abea18ad06b6ac1e5b8",
    "everything": "b3:931c38564b8ed68a065d3f49c9b1720b7364670af9f70eff77c49ea18edd2b77",
    "fetch": "b3:cce0e2a0019eec40d9ef2ea9efe3d5502ac8c2ed1ec5b15747029bbd8be02369",
    "Config": "b3:0b7b5c2ee50eb163fb20e2cf5272e968b40b25b0aa4ce0992b1724f6764d1b28",
    "Color": "b3:e907ab26ff7150941ea717f0d0c576e93ee892edcba3a6bbc424354d6817aa26",
    "Pair": "b3:0c0a4490f0407d1b962dec355fd0f8f02c51fb05861ed721e7b4e801bf404817",
    "Model": "b3:f0c435a7d83c6db1535563655f85d36a3d71fe20d3e7870ded562c9c209edf03",
    "Deep": "b3:a966183646fd96e5f9d1d1488a3314f4206a8d3d7cd2d5c0d861e6c5d9eceff0",
    "logged": "b3:909171b6c0cbb147e7cb1d7ae072f989aa21f9a95fc65f65ece3a4991fdcd019",
}

KEYS: dict[str, str] = {
    "helper": "fb1:e4be1d199de60f5c37b4f565d969efd91ddc9b920539459a4fdf0e87e223a5e3",
    "everything": "fb1:54f260c0bbfe0718df48e0d5b2ee811190f833a06ce5c595dfd43e2463dd1a92",
    "versioned": "fb1:b198a7262c4e64e5951d30bd02c1a99c6dfcfc91a91798d6caa6d7f2d03fb124",
}

SHALLOW = "b3:0ebee0b302e256a37bb9fd20b46a9c63aa279b5dcc4f887a181515af45105e66"


def keys() -> dict[str, str]:
    return {
        "helper": Recipe(sample.helper).key((1.5,), {}).digest,
        "everything": Recipe(sample.everything).key((1, 2, 3), {"x": {1}}).digest,
        "versioned": Recipe(sample.helper, name="n", version="1", salt="s")
        .key((1,), {}, {"region": "eu"})
        .digest,
    }


@pytest.mark.parametrize("name", VALUES)
def test_the_digest_of_a_value_is_pinned(name: str) -> None:
    assert value_digest(VALUES[name]) == VALUE_DIGESTS[name]


@pytest.mark.parametrize("name", CODE_DIGESTS)
def test_the_digest_of_code_is_pinned(name: str) -> None:
    found = function_identity(getattr(sample, name))
    assert found.warnings == ()
    assert found.digest == CODE_DIGESTS[name]


def test_the_digest_of_code_without_what_it_reads_is_pinned() -> None:
    assert function_identity(sample.everything, code="function").digest == SHALLOW


def test_the_keys_of_calls_are_pinned() -> None:
    assert keys() == KEYS


def test_pinned_values_are_all_different() -> None:
    assert len(set(VALUE_DIGESTS.values())) == len(VALUES)


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_digests_are_equal_in_every_process(seed: str) -> None:
    """Sets are the trap: their order follows PYTHONHASHSEED."""
    text = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('golden', {str(Path(__file__))!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "for name, value in module.VALUES.items(): print(module.value_digest(value))\n"
        "print(module.keys())\n"
    )
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", text], env=env, capture_output=True, text=True, check=True
    )
    lines = ran.stdout.splitlines()
    assert lines[:-1] == list(VALUE_DIGESTS.values())
    assert lines[-1] == str(KEYS)
