"""Drools in its own Java machine, through the jar that drools_jpy ships: rules in Drools' executable model.

The jar has no compiler for Drools' rule language; the executable model is the Java that it compiles rules to. One
session is kept and its facts are deleted after each claim, the fastest way to use it. Java does its own timing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from peers import workload

TITLE = "Drools (executable model, in the JVM)"
WARM_SECONDS = 8
PIECES = 50
"""Of the rules in one Java class."""


class Missing(Exception):
    """Something that Drools needs is not on this machine."""


def jar() -> Path:
    """The jar of drools_jpy. Raises Missing."""
    for program in ("java", "javac"):
        if shutil.which(program) is None:
            raise Missing(f"no {program} in PATH")
    found = find_spec("drools")
    if found is None or found.origin is None:
        raise Missing("drools_jpy is not installed")
    jars = list((Path(found.origin).parent / "jars").glob("*.jar"))
    if not jars:
        raise Missing("drools_jpy holds no jar")
    return jars[0]


def run(made: list[workload.Made], claims: list[workload.Claim], answers: list[list[str]], seconds: float,
        place: Path) -> dict[str, Any]:  # fmt: skip
    """Compile the rules, check them on the claims and time them: p50, p99 in microseconds, and how many were wrong."""
    library = jar()
    place.mkdir(parents=True, exist_ok=True)
    (place / "Rules.java").write_text(_rules(made))
    (place / "Claim.java").write_text(_claim())
    (place / "Bench.java").write_text(_BENCH)
    lines = [json.dumps({_name(fact): value for fact, value in found.items()}) for found in claims]
    (place / "claims.jsonl").write_text("\n".join(lines) + "\n")
    (place / "answers.txt").write_text("\n".join(",".join(answer) for answer in answers) + "\n")
    subprocess.run(
        ["javac", "-nowarn", "-cp", str(library), "-d", str(place), *map(str, place.glob("*.java"))],
        check=True, capture_output=True,
    )  # fmt: skip
    done = subprocess.run(
        ["java", "-XX:+UseSerialGC", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp",
         f"{library}:{place}", "Bench", str(place), str(seconds), str(WARM_SECONDS)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _name(fact: str) -> str:
    return fact.replace(".", "_")


def _type(fact: str) -> str:
    if fact in workload.FLAGS:
        return "Boolean"
    return "Long" if fact in (*workload.NUMBERS, workload.DAY) else "String"


def _claim() -> str:
    fields = "\n".join(f"    public {_type(fact)} {_name(fact)};" for fact in workload.FACTS)
    return f"""import com.fasterxml.jackson.annotation.JsonIgnore;
public class Claim {{
{fields}
    @JsonIgnore public final java.util.ArrayList<String> fired = new java.util.ArrayList<>();
    public static class Concluded {{
        public final String what;
        public Concluded(String what) {{ this.what = what; }}
    }}
}}
"""


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value}L" if isinstance(value, int) else json.dumps(value)


def _predicate(test: tuple[str, str, Any]) -> str:
    fact, operator, constant = test
    name = f"c.{_name(fact)}"
    if operator in ("present", "absent"):
        return f"{name} {'!=' if operator == 'present' else '=='} null"
    if operator == "eq":
        return f"{name} != null && {name}.equals({_literal(constant)})"
    if operator == "in":
        return " || ".join(f"{_literal(each)}.equals({name})" for each in constant)
    return f"{name} != null && {name} {'>=' if operator == 'ge' else '<'} {_literal(constant)}"


def _index(test: tuple[str, str, Any]) -> str:
    """Equalities get Drools' hash index, so that it need not try them one after the other."""
    fact, operator, constant = test
    if operator != "eq":
        return ""
    kind, name = _type(fact), _name(fact)
    number = workload.FACTS.index(fact)
    return f", alphaIndexedBy({kind}.class, Index.ConstraintType.EQUAL, {number}, G_{name}, {_literal(constant)})"


def _rules(made: list[workload.Made]) -> str:
    # One predicate object to each different test, so that Drools shares the nodes that test it. The pieces are spread
    # over classes: javac gives up on one with too many lambdas.
    known: dict[tuple[str, str, Any], str] = {}
    for rule in made:
        for test in rule.tests:
            known.setdefault(test, f"A{len(known) // PIECES}.P{len(known)}")
    predicates = [
        f"static final Predicate1<Claim> {name.split('.')[1]} = c -> {_predicate(test)};"
        for test, name in known.items()
    ]
    bodies = [_rule(rule, known) for rule in made]
    adds = [f"        model.addRule(B{number // PIECES}.{rule.id}());" for number, rule in enumerate(made)]
    getters = [
        f"static final Function1<Claim, {_type(fact)}> G_{_name(fact)} = c -> c.{_name(fact)};"
        for fact in workload.FACTS
    ]
    return "\n".join(
        [
            "import org.drools.model.*;",
            "import org.drools.model.functions.*;",
            "import org.drools.model.impl.ModelImpl;",
            "import static org.drools.model.DSL.*;",
            "import static org.drools.model.PatternDSL.*;",
            "public class Rules {",
            "    static final Variable<Claim> C = declarationOf(Claim.class);",
            "    static final Function1<Claim.Concluded, String> WHAT = k -> k.what;",
            *getters,
            *_classes("A", predicates),
            *_classes("B", bodies),
            "    public static Model model() {",
            "        ModelImpl model = new ModelImpl();",
            *adds,
            "        return model;",
            "    }",
            "}",
        ]
    )


def _classes(name: str, pieces: list[str]) -> list[str]:
    return [
        f"static class {name}{start // PIECES} {{\n" + "\n".join(pieces[start : start + PIECES]) + "\n}"
        for start in range(0, len(pieces), PIECES)
    ]


def _rule(rule: workload.Made, known: dict[tuple[str, str, Any], str]) -> str:
    tests = "".join(f'.expr("{known[test]}", {known[test]}{_index(test)})' for test in rule.tests)
    parts = [f"pattern(C){tests}"]
    declared = []
    for number, token in enumerate(rule.needs):
        declared.append(f"        Variable<Claim.Concluded> k{number} = declarationOf(Claim.Concluded.class);")
        parts.append(
            f'pattern(k{number}).expr("K_{token}", k -> "{token}".equals(k.what), '
            f'alphaIndexedBy(String.class, Index.ConstraintType.EQUAL, 0, WHAT, "{token}"))'
        )
    concluded = (
        f'((org.drools.model.Drools) drools).insert(new Claim.Concluded("{rule.concludes}"));' if rule.concludes else ""
    )
    once = f'if (!c.fired.contains("{rule.id}")) {{ c.fired.add("{rule.id}"); {concluded} }}'
    action = f"on(C).execute((drools, c) -> {{ {once} }})"
    return "\n".join(
        [
            f"    static Rule {rule.id}() {{", *declared,
            f'        return rule("{rule.id}").build({", ".join(parts)}, {action});', "    }",
        ]
    )  # fmt: skip


_BENCH = """import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.*;
import java.util.*;
import org.drools.modelcompiler.KieBaseBuilder;
import org.kie.api.runtime.KieSession;
import org.kie.api.runtime.rule.FactHandle;

public class Bench {
    static KieSession session;

    static List<String> fire(Claim claim) {
        claim.fired.clear();
        session.insert(claim);
        session.fireAllRules();
        for (Object handle : session.getFactHandles().toArray()) session.delete((FactHandle) handle);
        return claim.fired;
    }

    public static void main(String[] arguments) throws Exception {
        Path place = Path.of(arguments[0]);
        ObjectMapper mapper = new ObjectMapper();
        List<Claim> claims = new ArrayList<>();
        for (String line : Files.readAllLines(place.resolve("claims.jsonl")))
            claims.add(mapper.readValue(line, Claim.class));
        session = KieBaseBuilder.createKieBaseFromModel(Rules.model()).newKieSession();
        List<String> answers = Files.readAllLines(place.resolve("answers.txt"));
        int wrong = 0;
        for (int i = 0; i < answers.size(); i++) {
            List<String> fired = new ArrayList<>(fire(claims.get(i)));
            Collections.sort(fired);
            if (!String.join(",", fired).equals(answers.get(i))) wrong++;
        }
        long end = System.nanoTime() + (long) (Double.parseDouble(arguments[2]) * 1e9);
        while (System.nanoTime() < end) for (int i = 0; i < 200; i++) fire(claims.get(i % claims.size()));
        long[] took = new long[5_000_000];
        int count = 0;
        end = System.nanoTime() + (long) (Double.parseDouble(arguments[1]) * 1e9);
        for (int i = 0; count < took.length; i++) {
            long began = System.nanoTime();
            fire(claims.get(i % claims.size()));
            long ended = System.nanoTime();
            took[count++] = ended - began;
            if (ended > end) break;
        }
        Arrays.sort(took, 0, count);
        System.out.println("{\\"wrong\\": " + wrong + ", \\"p50\\": " + took[count / 2] / 1e3 + ", \\"p99\\": "
            + took[(int) (count * 0.99)] / 1e3 + ", \\"count\\": " + count + "}");
    }
}
"""
