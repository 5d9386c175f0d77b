"""UniGenBench++ (github CodeGoat24/UniGenBench): its long English prompts, and a judge of their test points."""
