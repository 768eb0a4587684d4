import pytest

from common.ranges import OptionError
from pipelines.submit.options import ClusterOptions


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 1800), ("10:30", 630), ("04:00:00", 14400), ("1-2", 93600), ("1-2:30", 95400), ("2-00:00:01", 172801)],
)
def test_seconds__as_slurm_writes_them(text, seconds):
    assert ClusterOptions(time=text).seconds == seconds


@pytest.mark.parametrize(
    ("array", "tasks"),
    [("0-3", [0, 1, 2, 3]), ("1,5", [1, 5]), ("0-9:4%2", [0, 4, 8]), ("7", [7]), ("0-1, 1-2", [0, 1, 2])],
)
def test_tasks__of_an_array(array, tasks):
    assert ClusterOptions(array=array).tasks == tasks


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"time": "01:30"}, ["--time 01:30", "--signal_seconds 90"]),
        ({"time": "soon"}, ["--time", "'soon'"]),
        ({"gpus": 4, "processes": 2}, ["--processes 2", "--gpus 4"]),
        ({"sbatch": ["--mem=3G"]}, ["--sbatch --mem=3G", "--memory"]),
        ({"sbatch": ["-t 3"]}, ["--sbatch -t 3", "--time"]),
        ({"sbatch": ["-o x"]}, ["--sbatch -o x", "--run.name"]),
        ({"sbatch": ["constraint=a"]}, ["--sbatch", "constraint=a"]),
        ({"memory": "64GB"}, ["--memory", "64GB"]),
        ({"array": "3-1"}, ["--array", "3-1"]),
        ({"array": "0-5000"}, ["--array", "5,001"]),
        ({"array": "0-3%0"}, ["--array", "%0"]),
        ({"nodes": 0}, ["--nodes", "at least 1"]),
        ({"partition": "a b"}, ["--partition", "a b"]),
    ],
)
def test_options__refused_with_their_names(options, named):
    with pytest.raises(OptionError) as refused:
        ClusterOptions(**options)
    assert all(name in str(refused.value) for name in named), refused.value
