"""Small generated tables."""

import csv

import numpy as np


def write_table(path, columns):
    """Write columns, by name, as a CSV file, and return its path."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def points(count=200, seed=0):
    """Columns of a table: two numbers on unlike scales, a town, and a class that depends on all of them."""
    rng = np.random.default_rng(seed)
    age, weight = rng.normal(40, 12, count).round(3), rng.normal(0.5, 0.01, count).round(6)
    town = rng.choice(["Braga", "Faro", "Porto"], count)
    score = (age - 40) / 12 + 100 * (weight - 0.5) + (town == "Porto") + 0.5 * rng.logistic(size=count)
    return {
        "age": age.tolist(),
        "weight": weight.tolist(),
        "town": town.tolist(),
        "label": np.where(score > 0, "yes", "no").tolist(),
    }


def houses(count=200, seed=0):
    """Columns of a table: area and price, 200 + 0.1 area and noise of 20."""
    rng = np.random.default_rng(seed)
    area = rng.uniform(500, 3500, count).round(2)
    price = (200 + 0.1 * area + rng.normal(0, 20, count)).round(4)
    return {"area": area.tolist(), "price": price.tolist()}
