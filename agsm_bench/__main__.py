"""`python -m agsm_bench` is `agsm-bench`."""

from agsm_bench.cli.main import main

if __name__ == "__main__":
    main()
